"""Matrix products by cuBLASLt.

products    recorded products in its terms
library     its functions, by ctypes
algorithms  which algorithm was chosen for a product, kept for good
"""
