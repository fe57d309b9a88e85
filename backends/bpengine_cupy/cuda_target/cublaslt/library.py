"""cuBLASLt by ctypes: every product is described once, its algorithm chosen and kept, then launched into any stream.

CuPy refuses its products while a stream is being captured; cuBLASLt allocates nothing per call and takes the algorithm and
the workspace as arguments. Enum values are those of cublasLt.h (a test compares them with the library's).
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable
from ctypes import byref, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from bpengine_cupy.cuda_target.cublaslt.algorithms import ChosenAlgorithms
from bpengine_cupy.cuda_target.cublaslt.products import Epilogue, MatrixProduct, Operand

DATA_TYPES = {"f4": 0, "f8": 1, "bf16": 14}  # cudaDataType_t: CUDA_R_32F, CUDA_R_64F, CUDA_R_16BF
COMPUTE_TYPES = {  # cublasComputeType_t; in the last two float32 operands are rounded inside
    "float32": 68,
    "float64": 70,
    "bfloat16": 75,
    "tf32": 77,
}
TRANSPOSE_A, TRANSPOSE_B = 3, 4  # cublasLtMatmulDescAttributes_t
# of the same enum: bias, or its gradient; the auxiliary buffer
EPILOGUE, VECTOR, MASK, MASK_PITCH, VECTOR_TYPE = (
    7,
    8,
    11,
    12,
    26,
)
EPILOGUES = {"relu_bias": 6, "relu_aux_bias": 134, "drelu": 136, "drelu_bgrad": 152}  # cublasLtEpilogue_t
MOST_WORKSPACE, REDUCTION_SCHEMES, ALIGNMENT_A = 1, 3, 5  # cublasLtMatmulPreferenceAttributes_t; B, C, D follow A
# reduction scheme: sums of a split inner length go through the workspace, in a fixed order; never in place
ORDERED_REDUCTIONS = 2 | 4
WORKSPACE = 32 << 20  # bytes of workspace for each stream
CANDIDATES = 16  # number of algorithms that are timed
ALIGNED = 256


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t."""

    _fields_ = (("data", c_uint64 * 8),)


class Candidate(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", Algorithm),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


class CublasLtError(Exception):
    """cuBLASLt answered with a status other than 0, or has no algorithm for a product."""


class NoAlgorithm(CublasLtError):
    """cuBLASLt has no algorithm for a product."""


def load_library(cuda: int = 13) -> ctypes.CDLL:
    """Return the cuBLASLt of a CUDA major version: the copy that CuPy has already loaded, or that of its package."""
    try:
        return ctypes.CDLL(f"libcublasLt.so.{cuda}")
    except OSError:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return ctypes.CDLL(load_nvidia_dynamic_lib("cublasLt").abs_path)


class CublasLt:
    """The library, its handle and its workspaces."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library, self.handle = library, c_void_p()

    def open(self) -> CublasLt:
        """Create the handle; needs a driver, unlike descriptions of products."""
        self.call("Create", byref(self.handle))
        return self

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; raise CublasLtError unless it returns 0."""
        status = getattr(self.library, f"cublasLt{name}")(*arguments)
        if status:
            raise CublasLtError(f"cublasLt{name} answered with status {status}")

    @property
    def version(self) -> int:
        """The library's version, as in cublasLt.h."""
        self.library.cublasLtGetVersion.restype = c_size_t
        return int(self.library.cublasLtGetVersion())


class DescribedProduct:
    """A product described to cuBLASLt, with operands at offsets from the address `base`."""

    def __init__(self, lt: CublasLt, product: MatrixProduct, base: int, precision: str) -> None:
        self.lt, self.product, self.precision = lt, product, precision
        kind, read = DATA_TYPES[product.dtype], DATA_TYPES["bf16" if product.rounded else product.dtype]
        number = c_double if product.dtype == "f8" else c_float
        self.one, self.zero = number(1), number(0)
        self.description = c_void_p()
        compute = COMPUTE_TYPES["float64" if product.dtype == "f8" else "float32" if product.rounded else precision]
        lt.call("MatmulDescCreate", byref(self.description), c_int(compute), c_int(kind))
        weakref.finalize(self, lt.call, "MatmulDescDestroy", self.description)
        self._set(TRANSPOSE_A, c_int32(product.a.transposed))
        self._set(TRANSPOSE_B, c_int32(product.b.transposed))
        if product.epilogue:
            self._describe(product.epilogue, kind, base)
        self.layouts = (
            self._layout(read, product.m, product.k, product.a),
            self._layout(read, product.k, product.n, product.b),
            self._layout(kind, product.m, product.n, Operand(product.d, False, product.m)),
        )
        self.addresses = [c_void_p(base + place) for place in (product.a.place, product.b.place, product.d)]
        self.algorithm: Algorithm | None = None

    def _describe(self, epilogue: Epilogue, kind: int, base: int) -> None:
        self._set(EPILOGUE, c_uint32(EPILOGUES[epilogue.name]))
        if epilogue.vector is not None:
            self._set(VECTOR, c_uint64(base + epilogue.vector))
            self._set(VECTOR_TYPE, c_int32(kind))
        if epilogue.mask is not None:
            self._set(MASK, c_uint64(base + epilogue.mask))
            self._set(MASK_PITCH, c_int64(epilogue.pitch))

    def _set(self, attribute: int, value: ctypes._SimpleCData[int]) -> None:
        size = c_size_t(ctypes.sizeof(value))
        self.lt.call("MatmulDescSetAttribute", self.description, c_int(attribute), byref(value), size)

    def _layout(self, kind: int, rows: int, columns: int, operand: Operand) -> c_void_p:
        if operand.transposed:
            rows, columns = columns, rows
        layout = c_void_p()
        shape = (c_uint64(rows), c_uint64(columns), c_int64(operand.leading))
        self.lt.call("MatrixLayoutCreate", byref(layout), c_int(kind), *shape)
        weakref.finalize(self, self.lt.call, "MatrixLayoutDestroy", layout)
        return layout

    @property
    def key(self) -> str:
        """The properties on which the choice of an algorithm depends."""
        p = self.product
        sides = "".join(f" {'T' if o.transposed else 'N'}{o.leading}" for o in (p.a, p.b))
        aligned = [min(ALIGNED, a.value & -a.value) for a in self.addresses if a.value]
        dtype = "bf16" if p.rounded else p.dtype
        epilogue = f" {p.epilogue.name}" if p.epilogue else ""
        return f"{self.precision} {dtype} {p.m}x{p.n}x{p.k}{sides} {aligned}{epilogue}"

    def candidates(self) -> list[Algorithm]:
        """Return algorithms for the product, the library's preferred one first. Not allowed while a stream is captured."""
        preference = c_void_p()
        self.lt.call("MatmulPreferenceCreate", byref(preference))
        candidates, count = (Candidate * CANDIDATES)(), c_int()

        def prefer(attribute: int, value: ctypes._SimpleCData[int]) -> None:
            size = c_size_t(ctypes.sizeof(value))
            self.lt.call("MatmulPreferenceSetAttribute", preference, c_int(attribute), byref(value), size)

        prefer(MOST_WORKSPACE, c_uint64(WORKSPACE))
        prefer(REDUCTION_SCHEMES, c_uint32(ORDERED_REDUCTIONS))
        for k, address in enumerate((*self.addresses, self.addresses[2])):
            prefer(ALIGNMENT_A + k, c_uint32(min(ALIGNED, (address.value or ALIGNED) & -(address.value or ALIGNED))))
        a, b, d = self.layouts
        arguments = (
            self.lt.handle,
            self.description,
            a,
            b,
            d,
            d,
            preference,
            c_int(CANDIDATES),
            candidates,
            byref(count),
        )
        try:
            self.lt.call("MatmulAlgoGetHeuristic", *arguments)
        finally:
            self.lt.call("MatmulPreferenceDestroy", preference)
        return [each.algorithm for each in candidates[: count.value] if each.state == 0]

    def choose(
        self, chosen: ChosenAlgorithms, time: Callable[[Callable[[], None]], float], stream: int, workspace: int
    ) -> None:
        """Use the algorithm that was chosen before, or the fastest of the library's candidates, and store that choice.

        The library's preferred algorithm splits the inner length of small products, which costs a second kernel.
        """
        kept = chosen.get(self.key)
        if kept is None:
            candidates = self.candidates()
            times = [self._seconds(each, time, stream, workspace) for each in candidates]
            if min(times, default=math.inf) == math.inf:
                raise NoAlgorithm(f"cuBLASLt has no algorithm for the product {self.key}")
            kept = chosen.keep(self.key, bytes(candidates[times.index(min(times))]))
        self.algorithm = Algorithm.from_buffer_copy(kept)

    def _seconds(
        self, algorithm: Algorithm, time: Callable[[Callable[[], None]], float], stream: int, workspace: int
    ) -> float:
        """Return the seconds of the product; infinity if the library proposes an algorithm that it then refuses."""
        self.algorithm = algorithm
        try:
            return time(lambda: self.launch(stream, workspace))
        except CublasLtError:
            return math.inf

    def launch(self, stream: int, workspace: int) -> None:
        """Launch the product in a stream; `workspace` is the address of memory that no other stream uses."""
        a, b, d = self.addresses
        la, lb, ld = self.layouts
        algorithm, space = byref(self.algorithm or Algorithm()), (c_void_p(workspace), c_size_t(WORKSPACE))
        operands = (byref(self.one), a, la, b, lb, byref(self.zero), d, ld, d, ld)
        self.lt.call("Matmul", self.lt.handle, self.description, *operands, algorithm, *space, c_void_p(stream))
