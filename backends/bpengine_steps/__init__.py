"""Steps recorded for any target: the graph of a step's array operations, how it is made, and when compiling it pays.

ir         nodes and their graph
tracing    arrays that note what kernels do to them
recorded   a step as one graph
signature  what a program is made for
grouping   operations gathered into passes
adaptive   when compiling pays
disk       what is compiled is kept

This room knows NumPy and the engine's `backend` and `errors`, nothing of Numba, CUDA or JAX.
"""
