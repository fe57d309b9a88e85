"""How a program lies in memory: rows of 64-bit integers."""

ROW = 24  # integers per call: the function, then its arguments
ITEM = 8  # bytes per integer
NUMPY_LOOP = 0  # in place of the function: a call of `strided`, made without it
