"""Each function of NumPy as operations; `of` returns the number of an operation for an array or a constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.page.program.operations import Operations

Number = int | None
Of = Callable[..., Number]
Function = Callable[..., Any]
Axes = int | Sequence[int] | None
Form = Callable[[Operations, Of, Function, Sequence[Any], Mapping[str, Any], HostArray], Number]

ELEMENTWISE: dict[Any, str] = {
    np.add: "add", np.subtract: "subtract", np.multiply: "multiply", np.divide: "divide", np.negative: "negative",
    np.positive: "positive", np.power: "power", np.float_power: "power", np.square: "square", np.sqrt: "sqrt",
    np.cbrt: "cbrt", np.reciprocal: "reciprocal", np.exp: "exp", np.exp2: "exp2", np.expm1: "expm1", np.log: "log",
    np.log2: "log2", np.log10: "log10", np.log1p: "log1p", np.sin: "sin", np.cos: "cos", np.tan: "tan", np.arcsin: "asin",
    np.arccos: "acos", np.arctan: "atan", np.sinh: "sinh", np.cosh: "cosh", np.tanh: "tanh", np.arcsinh: "asinh",
    np.arccosh: "acosh", np.arctanh: "atanh", np.arctan2: "atan2", np.hypot: "hypot", np.absolute: "abs", np.fabs: "abs",
    np.sign: "sign", np.maximum: "maximum", np.minimum: "minimum", np.fmax: "fmax", np.fmin: "fmin", np.floor: "floor",
    np.ceil: "ceil", np.trunc: "trunc", np.rint: "rint", np.greater: "greater", np.greater_equal: "greater_equal",
    np.less: "less", np.less_equal: "less_equal", np.equal: "equal", np.not_equal: "not_equal", np.isfinite: "isfinite",
    np.isnan: "isnan", np.logical_and: "and", np.logical_or: "or", np.logical_not: "not", np.bitwise_and: "and",
    np.bitwise_or: "or", np.invert: "not", np.heaviside: "heaviside", np.bitwise_xor: "xor", np.right_shift: "shift",
}  # fmt: skip
WHOLE = ("add", "subtract", "maximum", "minimum")  # the followed functions of whole numbers
WORDS = {"multiply": "word_multiply", "xor": "word_xor", "shift": "word_shift"}  # and of 32 bits, as dropout mixes them
REDUCTIONS: dict[Any, str] = {np.add: "sum", np.maximum: "max", np.minimum: "min"}
LOGICAL = ("and", "or", "not")  # followed for truth values only: on numbers they work on bits


def elementwise(operations: Operations, of: Of, ufunc: np.ufunc, inputs: Sequence[Any], values: HostArray) -> Number:
    """Return the operation of a ufunc, its constants in the dtype in which NumPy computes (NEP 50)."""
    kinds = [x.dtype if hasattr(x, "dtype") else type(x) for x in inputs]
    *wanted, _ = ufunc.resolve_dtypes((*kinds, None))
    name: str | None = ELEMENTWISE[ufunc]
    if values.dtype == np.uint32 and name not in WHOLE:
        name = WORDS.get(str(name))
    elif ((name in LOGICAL or name in WORDS) and wanted[0].kind != ("b" if name in LOGICAL else "f")) or (
        values.dtype.kind in "iu" and name not in WHOLE
    ):
        name = None
    if name is None:
        operations.give_up(f"np.{ufunc.__name__} of {wanted[0]}")
        return None
    arguments = [of(x, None if hasattr(x, "dtype") else dtype) for x, dtype in zip(inputs, wanted, strict=True)]
    return operations.add(name, values.dtype, values.shape, arguments)


def reduction(operations: Operations, of: Of, name: str, x: HostArray, axis: Axes, values: HostArray) -> Number:
    """Return the sum, or the largest or smallest number, over some axes; a boolean sum is not followed."""
    if x.dtype.kind != "f":
        operations.give_up(f"a {name} of {x.dtype}")
        return None
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    return operations.add(name, values.dtype, values.shape, [of(x)], [a % x.ndim for a in axes])


def _reduced(name: str) -> Form:
    def form(
        operations: Operations,
        of: Of,
        function: Function,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        values: HostArray,
    ) -> Number:
        if not kwargs.keys() <= {"axis", "keepdims"}:
            operations.give_up(f"np.{function.__name__} with {', '.join(kwargs)}")
            return None
        axis = args[1] if len(args) > 1 else kwargs.get("axis")
        return reduction(operations, of, name, args[0], axis, values)

    return form


def _mean(
    operations: Operations,
    of: Of,
    function: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    values: HostArray,
) -> Number:
    """Return a mean as NumPy computes it: the sum, divided by the count."""
    total = _reduced("sum")(operations, of, function, args, kwargs, values)
    count = operations.constant(np.asarray(args[0].size // max(values.size, 1), dtype=values.dtype))
    return operations.add("divide", values.dtype, values.shape, [total, count])


def _moved(
    operations: Operations,
    of: Of,
    function: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    values: HostArray,
) -> Number:
    """Return an operation that moves numbers unchanged; the function is run on positions to learn where they go."""
    first, *rest = args
    several = isinstance(first, (list, tuple))
    arrays = [np.asarray(part) for part in (first if several else [first])]
    starts = np.cumsum([0, *(array.size for array in arrays)])
    counted = [np.arange(a.size).reshape(a.shape) + s for a, s in zip(arrays, starts, strict=False)]
    places = function(counted if several else counted[0], *rest, **kwargs)
    parts = [of(part, values.dtype) for part in (first if several else [first])]
    return operations.gathered(parts, np.asarray(places), values.dtype)


def _cast(
    operations: Operations,
    of: Of,
    function: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    values: HostArray,
) -> Number:
    """Return an array in another dtype, or itself where it has it."""
    number = of(args[0])
    return number if args[0].dtype == values.dtype else operations.add("cast", values.dtype, values.shape, [number])


def _constant(
    operations: Operations,
    of: Of,
    function: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    values: HostArray,
) -> Number:
    """Return an array of zeros or ones in the shape of another, whose values are not used."""
    return operations.constant(values)


def _clip(
    operations: Operations,
    of: Of,
    function: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    values: HostArray,
) -> Number:
    limits = {**dict(zip(("a_min", "a_max"), args[1:], strict=False)), **kwargs}
    low = limits.get("a_min", limits.get("min"))
    high = limits.get("a_max", limits.get("max"))
    number = of(args[0])
    for name, limit in (("maximum", low), ("minimum", high)):
        if limit is not None:
            dtype = None if hasattr(limit, "dtype") else values.dtype
            number = operations.add(name, values.dtype, values.shape, [number, of(limit, dtype)])
    return number


def _round(
    operations: Operations,
    of: Of,
    function: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    values: HostArray,
) -> Number:
    if len(args) > 1 or kwargs:
        operations.give_up("np.round with decimals")
        return None
    return operations.add("rint", values.dtype, values.shape, [of(args[0])])


def _where(
    operations: Operations,
    of: Of,
    function: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    values: HostArray,
) -> Number:
    parts = [of(args[0]), *(of(x, None if hasattr(x, "dtype") else values.dtype) for x in args[1:])]
    return operations.add("where", values.dtype, values.shape, parts)


FUNCTIONS: dict[Any, Form] = {
    np.sum: _reduced("sum"), np.max: _reduced("max"), np.min: _reduced("min"), np.mean: _mean, np.astype: _cast,
    np.zeros_like: _constant, np.ones_like: _constant, np.clip: _clip, np.round: _round, np.where: _where,
    **dict.fromkeys(
        (np.reshape, np.ravel, np.transpose, np.matrix_transpose, np.broadcast_to, np.expand_dims, np.squeeze, np.moveaxis,
         np.swapaxes, np.flip, np.roll, np.repeat, np.tile, np.take, np.atleast_1d, np.atleast_2d, np.concatenate, np.stack,
         np.hstack, np.vstack, np.column_stack, np.copy),
        _moved,
    ),
}  # fmt: skip
