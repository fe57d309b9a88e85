"""BlasLibrary: a BLAS loaded into the process beside NumPy's own, which multiplies arrays by its CBLAS functions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from bpengine_steps.ir import DType, HostArray

from bpengine_numpy.blas.product_call import ProductCall

# a function of a shared library, whose class ctypes creates when the library is loaded
ForeignFunction: TypeAlias = Any
ROW_MAJOR = 101  # CBLAS's name of it
REALS: Mapping[DType, tuple[str, type[Any]]] = {
    np.dtype(np.float32): ("cblas_sgemm", ctypes.c_float),
    np.dtype(np.float64): ("cblas_dgemm", ctypes.c_double),
}


class OpenMp(NamedTuple):
    """The threads of a library, which compiled passes use as well: other threads would wait for these to give up their cores.

    Addresses of OpenMP's functions: `GOMP_parallel`, `omp_get_thread_num`, `omp_get_num_threads`; and how many threads the
    library takes.
    """

    parallel: int
    number: int
    size: int
    threads: Callable[[], int]


@dataclass(frozen=True, eq=False, kw_only=True)
class BlasLibrary:
    """A library: its name and version, its file, and its functions of CBLAS by the dtype that they multiply.

    bits: of the whole numbers in its interface, 32 (LP64) or 64 (ILP64). settings: what else may change its last bits.
    openmp: its threads, None where compiled passes cannot use them.
    """

    name: str
    version: str
    file: str
    bits: int
    functions: Mapping[DType, ForeignFunction]
    settings: Mapping[str, Any] = field(default_factory=dict)
    openmp: OpenMp | None = None

    def takes(self, call: ProductCall | None, dtype: DType) -> bool:
        """Tell whether the library multiplies such arrays; NumPy's own multiplies all others."""
        return call is not None and dtype in self.functions and max(*call.sizes, *call.widths) < 2 ** (self.bits - 1)

    def address(self, dtype: DType) -> int:
        """Return the address of the function for a dtype."""
        return address_of(self.functions[dtype])

    def multiply(self, call: ProductCall, a: HostArray, b: HostArray, y: HostArray | None = None) -> HostArray:
        """Return a b, one product or one for each block, in a new array or in `y`. Releases the GIL while it multiplies."""
        y = np.empty((*a.shape[:-1], b.shape[-1]), a.dtype) if y is None else y
        function, (rows, terms, columns) = self.functions[a.dtype], call.sizes
        blocks = len(a) if a.ndim == 3 else 1
        (left, down_left), (right, down_right), (at, down) = map(_begin_and_step, (a, b, y))
        for k in range(blocks):
            function(
                *(ROW_MAJOR, call.left, call.right, rows, columns, terms),
                *(1.0, left + k * down_left, call.widths[0], right + k * down_right, call.widths[1]),
                *(0.0, at + k * down, columns),
            )
        return y

    def facts(self) -> dict[str, Any]:
        """Return what the last bits of its products may depend on, as JSON values."""
        return {"name": self.name, "version": self.version, **self.settings}


def address_of(function: ForeignFunction) -> int:
    """Return the address of a function."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def cblas(loaded: ctypes.CDLL, names: str, bits: int) -> dict[DType, ForeignFunction]:
    """Return a loaded library's functions; `names` has braces where CBLAS's name goes, such as "scipy_{}64_".

    Raises AttributeError where the library has no such functions.
    """
    return {dtype: typed(getattr(loaded, names.format(name)), real, bits) for dtype, (name, real) in REALS.items()}


def typed(function: ForeignFunction, real: type[Any], bits: int) -> ForeignFunction:
    """Declare the arguments of a function of CBLAS, and return it."""
    whole, address = (ctypes.c_int64 if bits == 64 else ctypes.c_int32), ctypes.c_void_p
    function.restype = None
    function.argtypes = (
        *[ctypes.c_int] * 3, *[whole] * 3, real, address, whole, address, whole, real, address, whole,
    )  # fmt: skip
    return function


def _begin_and_step(array: HostArray) -> tuple[int, int]:
    """Return the address of an array and the bytes from one of its blocks to the next."""
    return array.ctypes.data, array.strides[0] if array.ndim == 3 else 0
