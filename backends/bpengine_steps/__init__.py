"""Steps recorded for any target: the graph of a step's array operations, how it is made, and when compiling it pays.

This room knows NumPy and the engine's `backend` and `errors`, nothing of Numba, CUDA or JAX.
"""
