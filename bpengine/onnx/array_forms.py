"""NumPy's other functions as ONNX operations: reductions, shapes, selections. Arguments are the graph, then those of NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpengine.onnx.onnx_graph import ROWS, Dimension, NoOnnxForm, OnnxGraph, Shape, has_rows
from bpengine.onnx.recorded_array import XP, Operand, RecordedArray, as_recorded, broadcast

Axes = int | Sequence[int] | None


def axes_of(axis: Axes, ndim: int) -> list[int]:
    """Return axes as numbers counted from the first axis."""
    every = range(ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    return sorted({a % ndim for a in every})


def _reduced(x: RecordedArray, axis: Axes, keepdims: bool) -> tuple[list[int], Shape]:
    """Return the reduced axes and the resulting shape."""
    axes = axes_of(axis, x.ndim)
    kept: list[Dimension] = [1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a not in axes]
    return axes, tuple(kept)


def _reduction(op: str) -> Callable[..., RecordedArray]:
    def form(graph: OnnxGraph, x: RecordedArray, axis: Axes = None, *, keepdims: bool = False) -> RecordedArray:
        axes, shape = _reduced(x, axis, keepdims)
        kind = np.sum(np.empty(0, x.dtype)).dtype if op in ("ReduceSum", "ReduceProd") else x.dtype
        if op == "ReduceMean" and x.dtype.kind != "f":
            kind = np.dtype(np.float64)
        if kind.kind == "b":
            raise NoOnnxForm("the largest or smallest of truth values")
        cast = as_recorded(graph, x, kind)
        if not axes:
            return cast
        if op == "ReduceSum":  # the other reductions take axes as an input only from version 18 on
            return cast.noted(op, np.array(axes, np.int64), shape=shape, keepdims=int(keepdims))
        return cast.noted(op, shape=shape, axes=axes, keepdims=int(keepdims))

    return form


def _spread(power: float) -> Callable[..., RecordedArray]:
    def form(graph: OnnxGraph, x: RecordedArray, axis: Axes = None, *, keepdims: bool = False) -> RecordedArray:
        centred = x - XP.mean(x, axis=axis, keepdims=True)
        variance: RecordedArray = XP.mean(centred * centred, axis=axis, keepdims=keepdims)
        deviation: RecordedArray = variance if power == 1.0 else XP.sqrt(variance)
        return deviation

    return form


def _truths(op: str) -> Callable[..., RecordedArray]:
    def form(graph: OnnxGraph, x: RecordedArray, axis: Axes = None, *, keepdims: bool = False) -> RecordedArray:
        numbers = as_recorded(graph, as_recorded(graph, x, bool), np.int32)
        return as_recorded(graph, _reduction(op)(graph, numbers, axis, keepdims=keepdims), bool)

    return form


def _place_of(op: str) -> Callable[..., RecordedArray]:
    def form(graph: OnnxGraph, a: RecordedArray, axis: int, *, keepdims: bool = False) -> RecordedArray:
        (at,), shape = _reduced(a, axis, keepdims)
        return a.noted(op, dtype=np.int64, shape=shape, axis=at, keepdims=int(keepdims))

    return form


def filled(graph: OnnxGraph, shape: Shape, value: object, dtype: npt.DTypeLike) -> RecordedArray:
    """Record an array of equal numbers."""
    if not has_rows(shape):
        return as_recorded(graph, np.full([n for n in shape if isinstance(n, int)], value, dtype))
    one = as_recorded(graph, np.array(value, dtype))
    return RecordedArray(graph, graph.add("Expand", [one.node, graph.shape_node(shape)], one.dtype, shape))


def _like(value: float) -> Callable[..., RecordedArray]:
    return lambda graph, a, dtype=None: filled(graph, a.shape, value, a.dtype if dtype is None else dtype)


def _full_like(
    graph: OnnxGraph, a: RecordedArray, fill_value: float, dtype: npt.DTypeLike | None = None
) -> RecordedArray:
    return filled(graph, a.shape, fill_value, a.dtype if dtype is None else dtype)


def _broadcast_to(graph: OnnxGraph, array: object, shape: object) -> RecordedArray:
    wanted = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    x = as_recorded(graph, array)
    node = graph.add("Expand", [x.node, graph.shape_node(wanted)], x.dtype, wanted)
    return RecordedArray(graph, node)


def _reshape(graph: OnnxGraph, a: RecordedArray, /, shape: object, *, copy: bool | None = None) -> RecordedArray:
    wanted: list[Any] = list(shape) if isinstance(shape, (tuple, list)) else [shape]
    open_at = [at for at, n in enumerate(wanted) if n is not ROWS and n == -1]
    known = math.prod(n for n in wanted if n is not ROWS and n != -1)
    there = math.prod(n for n in a.shape if isinstance(n, int))
    if open_at and (has_rows(tuple(wanted)) or not has_rows(a.shape)):
        wanted[open_at[0]] = there // max(known, 1)
    elif open_at:
        wanted[open_at[0]] = ROWS
    result: Shape = tuple(wanted)
    size = math.prod(n for n in result if isinstance(n, int))
    if size != there or has_rows(result) is not has_rows(a.shape):
        raise NoOnnxForm(f"a reshape of {a.shape} to {tuple(shape) if isinstance(shape, (tuple, list)) else shape}")
    target = np.array([n if isinstance(n, int) else -1 for n in result], np.int64)
    return a.noted("Reshape", target, shape=result)


def _expand_dims(graph: OnnxGraph, a: RecordedArray, axis: Axes) -> RecordedArray:
    width = a.ndim + (1 if isinstance(axis, int) else len(axis or ()))
    axes, left = axes_of(axis, width), list(a.shape)
    shape = tuple(1 if at in axes else left.pop(0) for at in range(width))
    return a.noted("Unsqueeze", np.array(axes, np.int64), shape=shape)


def _squeeze(graph: OnnxGraph, a: RecordedArray, axis: Axes = None) -> RecordedArray:
    long = [at for at, n in enumerate(a.shape) if n is ROWS or n != 1]
    axes = [at for at in range(a.ndim) if at not in long] if axis is None else axes_of(axis, a.ndim)
    if set(axes) & set(long):
        raise NoOnnxForm(f"np.squeeze of {a.shape} along an axis that is not 1")
    shape = tuple(n for at, n in enumerate(a.shape) if at not in axes)
    return a.noted("Squeeze", np.array(axes, np.int64), shape=shape) if axes else a


def _permuted(graph: OnnxGraph, a: RecordedArray, axes: Sequence[int] | None = None) -> RecordedArray:
    order = [at % a.ndim for at in (axes if axes is not None else reversed(range(a.ndim)))]
    return a.noted("Transpose", shape=tuple(a.shape[at] for at in order), perm=order)


def _matrix_transpose(graph: OnnxGraph, x: RecordedArray) -> RecordedArray:
    return _permuted(graph, x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _astype(graph: OnnxGraph, x: RecordedArray, dtype: npt.DTypeLike, /, *, copy: bool = True) -> RecordedArray:
    return as_recorded(graph, x, np.dtype(dtype))


def _copy(graph: OnnxGraph, a: RecordedArray) -> RecordedArray:
    return a


def _clip(
    graph: OnnxGraph,
    a: Operand,
    a_min: Operand | None = None,
    a_max: Operand | None = None,
    *,
    min: Operand | None = None,
    max: Operand | None = None,
) -> RecordedArray:
    low, high = a_min if min is None else min, a_max if max is None else max
    above = a if low is None else XP.maximum(a, low)
    clipped = above if high is None else XP.minimum(above, high)
    assert isinstance(clipped, RecordedArray)  # NumPy asks for a form where one of its arguments is recorded
    return clipped


def _round(graph: OnnxGraph, a: RecordedArray, decimals: int = 0) -> RecordedArray:
    if decimals:
        raise NoOnnxForm("np.round with decimals")
    rounded: RecordedArray = XP.rint(a) if a.dtype.kind == "f" else a
    return rounded


def _where(graph: OnnxGraph, condition: object, x: Operand, y: Operand, /) -> RecordedArray:
    kind = np.result_type(*(v.dtype if isinstance(v, RecordedArray) else v for v in (x, y)))
    truth, yes, no = (as_recorded(graph, v, d) for v, d in ((condition, bool), (x, kind), (y, kind)))
    shape = broadcast(truth.shape, yes.shape, no.shape)
    return truth.noted("Where", yes, no, dtype=kind, shape=shape)


def _concat(graph: OnnxGraph, arrays: Sequence[Any], axis: int | None = 0) -> RecordedArray:
    if axis is None:
        raise NoOnnxForm("np.concat with axis=None")
    kind = np.result_type(*(a.dtype for a in arrays))
    first, *more = parts = [as_recorded(graph, a, kind) for a in arrays]
    at = axis % first.ndim
    lengths = [part.shape[at] for part in parts]
    if any(n is ROWS for n in lengths):
        raise NoOnnxForm("np.concat along the rows")
    shape = list(first.shape)
    shape[at] = sum(n for n in lengths if isinstance(n, int))
    return first.noted("Concat", *more, shape=tuple(shape), axis=at)


def _stack(graph: OnnxGraph, arrays: Sequence[Any], axis: int = 0) -> RecordedArray:
    return _concat(graph, [_expand_dims(graph, as_recorded(graph, a), axis) for a in arrays], axis)


def _take(graph: OnnxGraph, a: object, indices: object, axis: int | None = None) -> RecordedArray:
    numbers = np.asarray(indices)
    x = as_recorded(graph, a)
    if axis is None or numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise NoOnnxForm("a choice by anything but a list of numbers along one axis")
    at = axis % x.ndim
    length = x.shape[at]
    if not isinstance(length, int):
        raise NoOnnxForm("a choice of rows")
    if ((numbers < -length) | (numbers >= length)).any():
        raise IndexError(f"index {numbers.max()} is out of bounds for axis {at} with size {length}")
    shape = (*x.shape[:at], len(numbers), *x.shape[at + 1 :])
    return x.noted("Gather", (numbers % max(length, 1)).astype(np.int64), shape=shape, axis=at)


ARRAY_FORMS: Final[dict[Any, Callable[..., Any]]] = {
    np.sum: _reduction("ReduceSum"), np.prod: _reduction("ReduceProd"), np.mean: _reduction("ReduceMean"),
    np.max: _reduction("ReduceMax"), np.min: _reduction("ReduceMin"), np.any: _truths("ReduceMax"),
    np.all: _truths("ReduceMin"), np.var: _spread(1.0), np.std: _spread(0.5), np.argmax: _place_of("ArgMax"),
    np.argmin: _place_of("ArgMin"), np.zeros_like: _like(0), np.ones_like: _like(1), np.full_like: _full_like,
    np.broadcast_to: _broadcast_to, np.reshape: _reshape, np.expand_dims: _expand_dims, np.squeeze: _squeeze,
    np.permute_dims: _permuted, np.matrix_transpose: _matrix_transpose, np.astype: _astype, np.copy: _copy,
    np.clip: _clip, np.round: _round, np.where: _where, np.concat: _concat, np.stack: _stack, np.take: _take,
}  # fmt: skip
