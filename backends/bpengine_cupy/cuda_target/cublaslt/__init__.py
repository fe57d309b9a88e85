"""Matrix products by cuBLASLt.

products    recorded products as arguments of cuBLASLt
library     cuBLASLt's functions, by ctypes
algorithms  the algorithm chosen for each product, kept on disk
"""
