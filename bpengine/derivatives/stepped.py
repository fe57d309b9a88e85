"""Stepped arrays: numbers a small imaginary step away from the real line, on which NumPy code runs unchanged.

f'(p) v = Im f(p + i h v) / h. Nothing is subtracted, so with h = 1e-100 this is exact to rounding, for a function that is
complex differentiable as written. Kernels also compare, clip and take maxima, which are not defined for complex numbers: here
such an operation decides by the real part, which the step does not change, and keeps the imaginary part of the element it
chose. So every kernel can be stepped, forward and backward. At a kink the step takes the same side as the kernels'
backwards: max(x, 0) has slope 0 at 0, min(x, 0) slope 1, |x| slope 0, and a clip to two limits slope 0 at both. An operation
that is neither complex differentiable nor one of these raises NotSteppable.

Source: Squire, Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998; Martins,
Sturdza, Alonso, "The complex-step derivative approximation", ACM Transactions on Mathematical Software 29, 2003 (section 3:
how comparisons, max and abs are to be redefined).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt

from bpengine.backend import ArrayLike, HostArray
from bpengine.system.quiet import Quiet

STEP = 1e-100
STATED_ERROR = 1e-12  # relative to the largest element; the step itself adds no error to that of rounding
Value = TypeVar("Value")
Axes = SupportsIndex | Sequence[SupportsIndex] | None


class NotSteppable(TypeError):
    """An operation has no complex step; the derivative must be computed in another way."""


class Stepped(np.ndarray[Any, Any]):
    """A complex array that stands for a real one and, in its imaginary part, for STEP times the derivative."""

    __array_priority__ = 100.0

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: tuple[HostArray, ...] | None = None, **settings: Any
    ) -> object:
        """Run NumPy's elementwise functions, products and reductions by the rules of this module."""
        rule = _RULES.get((ufunc, method))
        if rule is None:
            raise NotSteppable(f"np.{ufunc.__name__} ({method})")
        result = rule(ufunc, *map(_plain, inputs), **settings)
        if out is None:
            return _stepped(result)
        if not isinstance(out[0], Stepped):
            raise NotSteppable(f"np.{ufunc.__name__} into a real array")
        np.copyto(_plain(out[0]), result)
        return out[0]

    def __array_function__(
        self, function: Callable[..., object], types: Iterable[type], args: Iterable[Any], settings: Mapping[str, Any]
    ) -> object:
        """Run the functions that only move numbers, or consist of elementwise ones."""
        if function not in _STRUCTURAL or (function is np.copyto and not np.iscomplexobj(next(iter(args)))):
            raise NotSteppable(f"np.{function.__name__}")
        return _stepped(super().__array_function__(function, types, args, settings))

    def astype(self, dtype: npt.DTypeLike | None, *args: Any, **settings: Any) -> Any:
        """Return the array itself for float64, which it stands for; a coarser dtype has no derivative."""
        wanted = np.dtype(dtype)
        if wanted.kind in "biu":
            return _plain(self).real.astype(wanted)
        if wanted not in (np.float64, np.complex128):
            raise NotSteppable(f"astype({wanted})")
        return self.copy()

    def mean(
        self, axis: Axes = None, dtype: npt.DTypeLike | None = None, out: HostArray | None = None, **settings: Any
    ) -> Any:
        """Return the sum over the count: NumPy's own mean writes into a real array."""
        total = np.asanyarray(self.sum(axis=axis, **settings))
        return total * (max(total.size, 1) / self.size)

    def clip(self, min: Any = None, max: Any = None, out: HostArray | None = None, **settings: Any) -> Any:
        """Return the numbers cut to the given limits, as `np.clip` does."""
        if out is not None or settings:
            raise NotSteppable("clip with settings of its own")
        if min is None or max is None:
            above = self if min is None else np.maximum(self, min)
            return above if max is None else np.minimum(above, max)
        return _stepped(_cut(_plain(self), _plain(min), _plain(max)))

    def round(self, decimals: SupportsIndex = 0, out: HostArray | None = None) -> Any:
        """Return the rounded real part, which is constant between its jumps."""
        return np.round(_plain(self).real, decimals)


def stepped(value: ArrayLike, direction: ArrayLike) -> Stepped:
    """Return an array a step away along a direction of at most ordinary size."""
    moved = np.asarray(value, dtype=np.float64) + 1j * STEP * np.asarray(direction, dtype=np.float64)
    return np.asarray(moved).view(Stepped)


def derivative(result: npt.ArrayLike) -> HostArray:
    """Return the derivative that a result of stepped arrays holds; 0 for one that does not depend on them."""
    if np.iscomplexobj(result):
        with Quiet():
            return np.asarray(_plain(np.asanyarray(result)).imag / STEP)
    return np.zeros(np.shape(result))


@overload
def _plain(value: Stepped) -> HostArray: ...
@overload
def _plain(value: Value) -> Value: ...
def _plain(value: object) -> object:
    return value.view(np.ndarray) if isinstance(value, Stepped) else value


@overload
def _stepped(result: HostArray) -> HostArray: ...
@overload
def _stepped(result: object) -> object: ...
def _stepped(result: object) -> object:
    """Return complex results as stepped arrays, also those that NumPy turned into scalars."""
    if isinstance(result, (np.ndarray, np.generic)) and result.dtype.kind == "c":
        return np.asarray(result).view(Stepped)
    return result


def _real(value: HostArray) -> HostArray:
    return np.real(value)


def _smooth(ufunc: np.ufunc, *inputs: Any, **settings: Any) -> object:
    return ufunc(*inputs, **settings)


def _real_domain(least: float) -> Callable[..., Any]:
    """Return the rule of a function that is not defined below `least`: NaN there, as without a step."""

    def rule(ufunc: np.ufunc, x: HostArray, **settings: Any) -> HostArray:
        return np.where(_real(x) < least, np.nan, ufunc(x, **settings))

    return rule


def _power(ufunc: np.ufunc, base: HostArray, exponent: HostArray, **settings: Any) -> HostArray:
    """Return powers: whole exponents for any base, other exponents for bases that have real powers."""
    if np.iscomplexobj(exponent):
        raise NotSteppable("np.power with an exponent that is differentiated")
    whole = np.equal(np.round(exponent), exponent)
    return np.where((_real(base) < 0) & ~whole, np.nan, ufunc(base, exponent, **settings))


def _compare(ufunc: np.ufunc, *inputs: Any, **settings: Any) -> object:
    return ufunc(*map(_real, inputs), **settings)


def _larger(ufunc: np.ufunc | None, a: HostArray, b: HostArray) -> HostArray:
    """Return the larger; the second if they are equal."""
    return np.where((_real(a) > _real(b)) | np.isnan(_real(a)), a, b)


def _smaller(ufunc: np.ufunc, a: HostArray, b: HostArray) -> HostArray:
    """Return the smaller; the first if they are equal."""
    return np.where((_real(a) <= _real(b)) | np.isnan(_real(a)), a, b)


def _cut(x: HostArray, low: HostArray, high: HostArray) -> HostArray:
    """Return x cut to two limits; the limit if x equals it."""
    above = _larger(None, x, low)
    return np.where((_real(above) < _real(high)) | np.isnan(_real(above)), above, high)


def _absolute(ufunc: np.ufunc, x: HostArray) -> HostArray:
    return x * np.sign(_real(x))


def _extreme(find: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule of a reduction to the element whose real part `find` finds."""

    def rule(
        ufunc: np.ufunc,
        x: HostArray,
        axis: Axes = 0,
        dtype: npt.DTypeLike | None = None,
        keepdims: bool = False,
        **settings: Any,
    ) -> HostArray:
        if settings.keys() - {"initial", "where"} or isinstance(axis, Sequence):
            raise NotSteppable(f"np.{ufunc.__name__} over several axes")
        flat = x.reshape(-1) if axis is None else x
        along = 0 if axis is None else int(axis)
        extreme = np.take_along_axis(flat, np.expand_dims(find(_real(flat), axis=along), along), along)
        if axis is None:
            return extreme.reshape((1,) * x.ndim if keepdims else ())
        return extreme if keepdims else np.squeeze(extreme, axis=along)

    return rule


_SMOOTH = (
    *(np.add, np.subtract, np.multiply, np.divide, np.negative, np.positive, np.reciprocal, np.square, np.matmul),
    *(np.exp, np.exp2, np.expm1, np.tanh, np.sinh, np.cosh, np.sin, np.cos, np.tan),
)
_COMPARISONS = (
    *(np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal),
    *(np.isfinite, np.isnan, np.isinf, np.sign, np.floor, np.ceil, np.trunc, np.rint),
)
_RULES: dict[tuple[Any, str], Callable[..., Any]] = {
    **{(ufunc, "__call__"): _smooth for ufunc in _SMOOTH},
    **{(ufunc, "__call__"): _compare for ufunc in _COMPARISONS},
    **{(ufunc, "__call__"): _real_domain(0.0) for ufunc in (np.sqrt, np.log, np.log2, np.log10)},
    (np.log1p, "__call__"): _real_domain(-1.0),
    (np.power, "__call__"): _power,
    (np.maximum, "__call__"): _larger,
    (np.minimum, "__call__"): _smaller,
    (np.absolute, "__call__"): _absolute,
    (np.add, "reduce"): lambda ufunc, *inputs, **settings: ufunc.reduce(*inputs, **settings),
    (np.maximum, "reduce"): _extreme(np.argmax),
    (np.minimum, "reduce"): _extreme(np.argmin),
}
_STRUCTURAL = {
    *(np.sum, np.mean, np.max, np.min, np.clip, np.round, np.astype),
    *(np.zeros_like, np.ones_like, np.full_like, np.empty_like, np.copy, np.copyto, np.shape, np.ndim, np.size),
    *(np.concatenate, np.stack, np.vstack, np.hstack, np.where, np.take, np.take_along_axis, np.tile, np.repeat),
    *(np.reshape, np.ravel, np.transpose, np.matrix_transpose, np.swapaxes, np.moveaxis, np.expand_dims, np.squeeze),
    *(np.broadcast_to, np.flip, np.roll, np.atleast_1d, np.atleast_2d, np.tril, np.triu, np.diagonal, np.iscomplexobj),
}
