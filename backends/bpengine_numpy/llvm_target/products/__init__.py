"""Products of few columns as code of our own, where a test shows in which order NumPy's BLAS adds them up.

product_orders   the known orders, and which of them gives NumPy's bits for a shape
narrow_product   a product of many rows and few columns, or of a few of both with many terms, as LLVM's instructions
"""
