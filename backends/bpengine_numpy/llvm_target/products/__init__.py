"""Products that NumPy's loop does not compute: narrow ones and those of a chosen library.

product_orders   the known orders, and which of them gives NumPy's bits for a shape
narrow_product   a product with many rows and few columns, or with few of both and many terms, as LLVM's instructions,
                 where a test shows the order of summation in NumPy's BLAS
library_product  a product by a chosen BLAS
"""
