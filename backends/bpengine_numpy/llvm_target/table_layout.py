"""The memory layout of a call table: rows of 64-bit integers."""

ROW = 24  # integers per call: the function, then its arguments
ITEM = 8  # bytes per integer
NUMPY_LOOP = 0  # in place of the function's address: a strided loop, called directly
POINTERS = 3  # position of a strided loop's operands, after the loop, its context and its auxiliary data
MOVED = 19  # position of the last argument of a strided loop: memory for the pointers, which some loops advance
# number of a fused loop's arguments before its arrays: rows, length of a whole row, columns, address of its numbers
AHEAD = 4
# integers per turn of a loop over shards: its table, the table's number of rows, the start of the shard's rows (2)
TURN = 4
