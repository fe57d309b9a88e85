"""Generated code for products of few columns, where a test shows the order of summation in NumPy's BLAS.

product_orders   the known orders, and which of them gives NumPy's bits for a shape
narrow_product   a product with many rows and few columns, or with few of both and many terms, as LLVM's instructions
"""
