"""A choice of BLAS for the matrix products of the NumPy backend.

library_choice     which library multiplies, by name
product_namespace  NumPy's names with products by the chosen library, for kernels as they are written and as they are recorded
fastest            the faster of two libraries for each product, measured once
mkl                Intel's MKL, from its wheel
blas_library       a library in the process, which multiplies arrays
product_call       the arguments of CBLAS for a product
"""
