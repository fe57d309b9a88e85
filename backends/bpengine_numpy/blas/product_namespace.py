"""The array namespace of a NumPy backend with a choice of BLAS: NumPy's names, and products by the chosen library.

Kernels multiply by `xp.matmul`, so eager steps, predictions and derivatives take the chosen library. A step that is recorded
gets a node that names the library, and its compiled form calls the same function. `@` between arrays remains NumPy's, in both.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from bpengine_steps.ir import DType, StepNode
from bpengine_steps.tracing import product_by

from bpengine.kernels._kernel import Array
from bpengine_numpy.blas.blas_library import BlasLibrary
from bpengine_numpy.blas.product_call import ProductCall


class Choice(Protocol):
    """Chooses the library of each product: always the same one for the same call."""

    def library(self, call: ProductCall, dtype: DType) -> BlasLibrary | None:
        """Return the library that multiplies, None for NumPy's own."""

    def facts(self) -> dict[str, Any]:
        """Return what the last bits may depend on, as JSON values."""


class ProductNamespace:
    """NumPy's names but for `matmul`, whose products are computed by the library of a choice where that takes them."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._product = product_by(self._of_nodes, np.matmul)

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)

    def __dir__(self) -> list[str]:
        return dir(np)

    def __repr__(self) -> str:
        return f"ProductNamespace({self._choice!r})"

    def matmul(self, x1: Array, x2: Array, /) -> Array:
        """Return the product of two matrices, or of two stacks of matrices."""
        if type(x1) is not np.ndarray or type(x2) is not np.ndarray or x1.dtype != x2.dtype:
            return self._product(x1, x2)
        call = _call_of(x1, x2)
        library = None if call is None else self._choice.library(call, x1.dtype)
        return np.matmul(x1, x2) if call is None or library is None else library.multiply(call, x1, x2)

    def _of_nodes(self, a: StepNode, b: StepNode) -> BlasLibrary | None:
        """Return the library of a product that is recorded."""
        call = ProductCall.of(a.shape, a.strides, b.shape, b.strides)
        return None if call is None else self._choice.library(call, a.dtype)


def _call_of(a: Array, b: Array) -> ProductCall | None:
    item = a.dtype.itemsize
    if any(step % item for step in (*a.strides, *b.strides)):
        return None
    left, right = (tuple(step // item for step in x.strides) for x in (a, b))
    return ProductCall.of(a.shape, left, b.shape, right)
