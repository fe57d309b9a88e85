"""Networks of a handful of units: the calls of a whole step as one function, with the sizes of everything in its code.

product_orders   in which order NumPy's BLAS adds up a tiny product, where a test shows it
exponential      exp in NumPy's way, where a test shows its bits
verdicts         what tests found, kept on disk
step_text        the function as LLVM's instructions
step_function    whether a step is small enough, and whether a table of calls is the one that its function was made for
"""
