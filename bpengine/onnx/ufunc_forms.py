"""NumPy's elementwise functions as ONNX operations: by name, or written in others that ONNX has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from bpengine.onnx.onnx_graph import Dimension, HostArray, Kind, NoOnnxForm, OnnxGraph, Shape
from bpengine.onnx.recorded_array import XP, RecordedArray, as_recorded, broadcast

LOGARITHM_OF_2: Final = math.log(2.0)

NAMED: Final[dict[np.ufunc, str]] = {
    np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.divide: "Div", np.power: "Pow", np.negative: "Neg",
    np.maximum: "Max", np.minimum: "Min", np.absolute: "Abs", np.sign: "Sign", np.exp: "Exp", np.log: "Log",
    np.sqrt: "Sqrt", np.tanh: "Tanh", np.sin: "Sin", np.floor: "Floor", np.ceil: "Ceil", np.rint: "Round",
    np.equal: "Equal", np.greater: "Greater", np.greater_equal: "GreaterOrEqual", np.less: "Less",
    np.less_equal: "LessOrEqual", np.isnan: "IsNaN", np.logical_and: "And", np.logical_or: "Or", np.logical_xor: "Xor",
    np.logical_not: "Not",
}  # fmt: skip
TRUTHS: Final = {  # NumPy's & | ^ ~ are these on truth values
    np.bitwise_and: np.logical_and, np.bitwise_or: np.logical_or, np.bitwise_xor: np.logical_xor, np.invert: np.logical_not,
}  # fmt: skip

LOGICAL: Final = ("And", "Or", "Xor", "Not", "Equal")
AS_TRUTHS: Final = {"Add": "Or", "Max": "Or", "Mul": "And", "Min": "And"}  # NumPy's behaviour with truth values


def elementwise(graph: OnnxGraph, ufunc: np.ufunc, inputs: Sequence[Any]) -> RecordedArray:
    """Record an operation that ONNX has, in the dtype that NumPy would choose (Python numbers are weak: NEP 50)."""
    (first, *more), dtype, shape = _operands(graph, ufunc, inputs)
    name = NAMED[ufunc]
    if first.dtype == bool and name not in LOGICAL:
        if name not in AS_TRUTHS:
            raise NoOnnxForm(f"np.{ufunc.__name__} of truth values")
        name = AS_TRUTHS[name]
    return first.noted(name, *more, dtype=dtype, shape=shape)


def _operands(graph: OnnxGraph, ufunc: np.ufunc, inputs: Sequence[Any]) -> tuple[list[RecordedArray], Kind, Shape]:
    """Return the inputs in the dtype that a ufunc computes in, the dtype of its result, and its shape."""
    kinds = [x.dtype if hasattr(x, "dtype") else type(x) for x in inputs]
    *wanted, dtype = ufunc.resolve_dtypes((*kinds, None))
    arrays = [as_recorded(graph, x, d) for x, d in zip(inputs, wanted, strict=True)]
    return arrays, dtype, broadcast(*(a.shape for a in arrays))


def _log1p(x: RecordedArray) -> RecordedArray:
    """Return log(1 + x) with full precision for a small x: the rounding error of 1 + x is compensated.

    Source: Goldberg, "What every computer scientist should know about floating-point arithmetic", theorem 4, 1991.
    """
    near = 1.0 + x
    kept = near - 1.0  # the part of x that was added in the rounded sum
    logarithm: RecordedArray = XP.where(kept == x, XP.log(near), XP.where(kept == 0.0, x, x * (XP.log(near) / kept)))
    return logarithm


def _expm1(x: RecordedArray) -> RecordedArray:
    """Return exp(x) - 1 = tanh(x / 2) (exp(x) + 1), in which nothing cancels."""
    difference: RecordedArray = XP.tanh(0.5 * x) * (XP.exp(x) + 1.0)
    return difference


def _cos(x: RecordedArray) -> RecordedArray:
    """Return cos(x) = 1 - 2 sin(x / 2)^2: servers have Sin for float64, and not all of them Cos."""
    half = XP.sin(0.5 * x)
    cosine: RecordedArray = 1.0 - 2.0 * half * half
    return cosine


def _logaddexp(a: RecordedArray, b: RecordedArray) -> RecordedArray:
    further = XP.where(a == b, 0.0, -XP.absolute(a - b))  # not inf - inf
    logarithm: RecordedArray = XP.maximum(a, b) + XP.log1p(XP.exp(further))
    return logarithm


def _finite(x: RecordedArray) -> RecordedArray:
    real: RecordedArray = x if x.dtype.kind == "f" else XP.astype(x, np.float64)
    below: RecordedArray = XP.absolute(real) <= float(np.finfo(real.dtype).max)
    return below


COMPOSED: Final[dict[np.ufunc, Callable[..., RecordedArray]]] = {
    np.log1p: _log1p,
    np.expm1: _expm1,
    np.log2: lambda x: np.log(x) / LOGARITHM_OF_2,
    np.log10: lambda x: np.log(x) / math.log(10.0),
    np.cos: _cos,
    np.exp2: lambda x: np.power(2.0, x),
    np.sinh: lambda x: 0.5 * np.expm1(x) - 0.5 * np.expm1(-x),
    np.cosh: lambda x: 0.5 * np.exp(x) + 0.5 * np.exp(-x),
    np.tan: lambda x: np.sin(x) / np.cos(x),
    np.logaddexp: _logaddexp,
    np.square: lambda x: x * x,
    np.reciprocal: lambda x: 1.0 / x,
    np.positive: lambda x: x,
    np.isfinite: _finite,
    np.isinf: lambda x: np.logical_not(np.logical_or(np.isfinite(x), np.isnan(x))),
    np.not_equal: lambda a, b: np.logical_not(a == b),
}


def _named(ufunc: np.ufunc) -> Callable[..., RecordedArray]:
    return lambda graph, *inputs: elementwise(graph, ufunc, inputs)


def _composed(ufunc: np.ufunc) -> Callable[..., RecordedArray]:
    def form(graph: OnnxGraph, *inputs: Any) -> RecordedArray:
        arrays, _, _ = _operands(graph, ufunc, inputs)
        return COMPOSED[ufunc](*arrays)

    return form


def _on_truths(ufunc: np.ufunc) -> Callable[..., RecordedArray]:
    def form(graph: OnnxGraph, *inputs: Any) -> RecordedArray:
        if any(getattr(x, "dtype", type(x)) not in (bool, np.dtype(bool)) for x in inputs):
            raise NoOnnxForm(f"np.{ufunc.__name__} of numbers")
        return elementwise(graph, TRUTHS[ufunc], inputs)

    return form


def _same(a: Dimension, b: Dimension) -> bool:
    return a is b or (isinstance(a, int) and isinstance(b, int) and a == b)


def _matmul(graph: OnnxGraph, a: RecordedArray | HostArray, b: RecordedArray | HostArray) -> RecordedArray:
    """Record a product of matrices, or of stacks of them."""
    arrays, dtype = [as_recorded(graph, x) for x in (a, b)], np.result_type(a.dtype, b.dtype)
    left, right = (as_recorded(graph, x, dtype) for x in arrays)
    if left.ndim < 2 or right.ndim < 2 or not _same(left.shape[-1], right.shape[-2]):
        raise NoOnnxForm(f"a product of arrays of the shapes {left.shape} and {right.shape}")
    return left.noted(
        "MatMul", right, shape=(*broadcast(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1])
    )


UFUNC_FORMS: Final[dict[Any, Callable[..., Any]]] = {
    **{ufunc: _named(ufunc) for ufunc in NAMED},
    **{ufunc: _composed(ufunc) for ufunc in COMPOSED},
    **{ufunc: _on_truths(ufunc) for ufunc in TRUTHS},
    np.matmul: _matmul,
}
