"""Networks of a handful of units: the calls of a whole step as one function, with the sizes of everything in its code.

exponential      exp in NumPy's way, where a test shows its bits
step_text        the function as LLVM's instructions
step_function    whether a step is small enough, and whether a table of calls is the one that its function was made for
"""
