"""Self-tests: interfaces with an undocumented memory layout are tried once in a separate process before they are used.

openblas     OpenBLAS's queue of jobs, and whether it may be used
trial        the self-test: its process and its result, kept on disk
trial_child  the program of that process
verdicts     results of tests of NumPy's and BLAS's bits, kept on disk
"""
