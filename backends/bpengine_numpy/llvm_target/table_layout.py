"""How a table of calls lies in memory: rows of 64-bit integers."""

ROW = 24  # integers per call: the function, then its arguments
ITEM = 8  # bytes per integer
NUMPY_LOOP = 0  # in place of the function: a call of `strided`, made without it
POINTERS = 3  # of a strided loop's operands, behind the loop, its context and its auxiliary data
MOVED = 19  # the argument of a strided loop behind all others: room for the pointers, which some loops move
AHEAD = 4  # arguments of a fused loop before its arrays: rows, length of a whole row, columns, where its numbers lie
TURN = 4  # integers per turn of a loop over shards: its table, the table's rows, where the shard's rows begin (2)
