"""What is called by its layout in memory, not by its manual, is tried once in a process of its own before it is used.

openblas     OpenBLAS's queue of jobs, and whether it may be used
trial        the self-test: its process, its verdict, kept on disk
trial_child  what that process runs
verdicts     what tests of NumPy's and BLAS's bits found, kept on disk
"""
