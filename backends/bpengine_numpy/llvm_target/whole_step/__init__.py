"""Networks of a handful of units: the calls of a whole step as one function, with all sizes as constants in its code.

exponential      exp by NumPy's method, where a test shows NumPy's bits
step_text        the function as LLVM's instructions
step_function    whether a step is small enough, and whether a call table is the one for which its function was made
"""
