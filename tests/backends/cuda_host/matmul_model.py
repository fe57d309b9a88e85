"""cublasLtMatmul played by NumPy: column-major matrices at addresses, and the epilogues that plans use."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from bpengine_cupy.cuda_target.bfloat16 import BITS, exact
from bpengine_cupy.cuda_target.cublaslt.products import Epilogue, MatrixProduct, Operand

Array = np.ndarray[Any, Any]


def multiply(product: MatrixProduct, base: int, *, tf32: bool = False) -> None:
    """Do what cublasLtMatmul does, on addresses counted from `base`."""
    read = BITS if product.rounded else np.dtype(product.dtype)

    def operand(shape: Operand, rows: int, columns: int) -> Any:
        if shape.transposed:
            return matrix(base + shape.place, (columns, rows), shape.leading, read).T
        return matrix(base + shape.place, (rows, columns), shape.leading, read)

    a, b = operand(product.a, product.m, product.k), operand(product.b, product.k, product.n)
    if product.rounded:
        a, b = exact(a), exact(b)
    elif tf32:
        a, b = ((x.view(np.uint32) + np.uint32(0x1000) & np.uint32(0xFFFFE000)).view(np.float32) for x in (a, b))
    with np.errstate(all="ignore"):
        y = b.T @ a.T  # the row-major product, so that NumPy's BLAS adds in the same order
        if product.epilogue:
            y = _Besides(product, product.epilogue, base).applied(y)
        matrix(base + product.d, (product.m, product.n), product.m, np.dtype(product.dtype))[...] = y.T


def matrix(address: int, shape: tuple[int, int], leading: int, kind: Any) -> Array:
    """Return a column-major matrix at an address: not a copy."""
    rows, columns = shape
    flat = flat_at(address, (columns - 1) * leading + rows, kind)
    return np.lib.stride_tricks.as_strided(flat, shape, (kind.itemsize, leading * kind.itemsize))


def flat_at(address: int, count: int, kind: Any) -> Array:
    """Return so many elements at an address: not a copy."""
    dtype: Any = np.dtype(kind)
    return np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype)


@dataclass
class _Besides:
    """An epilogue, on the product in row-major order."""

    product: MatrixProduct
    epilogue: Epilogue
    base: int

    def applied(self, y: Array) -> Array:
        return self._relu(y) if self.epilogue.name.startswith("relu") else self._relu_backward(y)

    def _relu(self, y: Array) -> Array:
        y = y + self._vector()
        if self.epilogue.name == "relu_aux_bias":
            bits = np.zeros((self.product.n, self.epilogue.pitch), bool)
            bits[:, : self.product.m] = y > 0
            self._mask()[...] = np.packbits(bits, axis=1, bitorder="little")
        return np.maximum(y, 0)

    def _relu_backward(self, y: Array) -> Array:
        y = y * np.unpackbits(self._mask(), axis=1, bitorder="little")[:, : self.product.m]
        if self.epilogue.name == "drelu_bgrad":
            self._vector()[...] = y.sum(axis=0)
        return y

    def _vector(self) -> Array:
        assert self.epilogue.vector is not None
        return flat_at(self.base + self.epilogue.vector, self.product.m, self.product.dtype)

    def _mask(self) -> Array:
        """Return the bits of a mask, a row for each row of the result."""
        assert self.epilogue.mask is not None
        assert self.epilogue.pitch % 128 == 0
        row = self.epilogue.pitch // 8
        return flat_at(self.base + self.epilogue.mask, self.product.n * row, "u1").reshape(self.product.n, row)
