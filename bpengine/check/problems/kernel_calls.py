"""A kernel call as a Problem: given or sampled arguments, a cotangent, and the bound forward and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from bpengine.backend import ArrayLike, HostArray
from bpengine.check.intercept import bound
from bpengine.check.problems.problem import Problem
from bpengine.errors import ConfigError, ShapeError, unknown
from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._kernel import Array, extent
from bpengine.layers.layer import Arrays, HostArrays
from bpengine.ops import Ops, known

DIMENSIONS = {"B": 5, "I": 4, "O": 3}  # dimensions of sampled arguments; any other letter stands for 2


Arguments: TypeAlias = (
    "ArrayLike | Mapping[str, ArrayLike] | Sequence[ArrayLike] | None"  # rows, or the arrays of a kernel
)


def find_kernel(subject: str | Kernel) -> Kernel:
    """Return the kernel; raise ConfigError for an unknown name or one without a backward."""
    if isinstance(subject, str) and subject not in KERNELS:
        raise unknown("kernel", subject, KERNELS)
    kernel = KERNELS[subject] if isinstance(subject, str) else subject
    if kernel.backward is None:
        raise ConfigError(f"kernel {kernel.name!r} has no backward: {kernel.no_backward or 'it is not differentiated'}")
    if not kernel.differentiable or set(kernel.differentiable) - set(kernel.arguments):
        raise ConfigError(
            f"kernel {kernel.name!r} requires `differentiable` to name some of its arguments "
            f"({', '.join(kernel.arguments)}), got {', '.join(kernel.differentiable) or 'none'}."
        )
    return kernel


def arguments(kernel: Kernel, values: object, rng: np.random.Generator) -> HostArrays:
    """Return the arrays by argument name: from a dict, a sequence in order, one array, or sampled where None."""
    if values is None:
        return {name: _sample(kernel, name, rng) for name in kernel.arguments}
    if not isinstance(values, Mapping):
        in_order = values if isinstance(values, (tuple, list)) and len(kernel.arguments) > 1 else (values,)
        values = dict(zip(kernel.arguments, in_order, strict=False))
    for name in values:
        if name not in kernel.arguments:
            raise unknown(f"argument of kernel {kernel.name!r}:", name, kernel.arguments)
    wanted = [name for name in kernel.arguments if name not in kernel.optional]
    if missing := [name for name in wanted if name not in values]:
        raise ConfigError(
            f"kernel {kernel.name!r} requires the arguments {', '.join(wanted)}, got none for {', '.join(missing)}. "
            "Give a dict of arrays by name, or x=None to have them sampled."
        )
    return {name: _as_numbers(kernel, name, values[name]) for name in kernel.arguments if values.get(name) is not None}


def of_kernel(
    kernel: Kernel,
    ops: Ops,
    arrays: HostArrays,
    options: Mapping[str, Any],
    dy: HostArray,
    wanted: Sequence[str] | None = None,
) -> Problem:
    """Return <dy, y> of one kernel call as a function of its differentiable arguments, or of those `wanted`."""

    def forward(ops: Ops, at: Arrays) -> tuple[Array, Any]:
        xp = ops.xp
        values = [at[n] if n in at else None if a is None else xp.asarray(a) for n, a in arrays.items()]
        y, residual = bound(ops, kernel, "forward")(*values, **options)
        return xp.asarray(dy) * y, residual

    def hand(ops: Ops, at: Arrays) -> tuple[Array, Arrays]:
        terms, residual = forward(ops, at)
        gradients = named_gradients(kernel, bound(ops, kernel, "backward")(residual, ops.xp.asarray(dy)))
        return ops.xp.sum(terms), gradients

    def scalar(ops: Ops, at: Arrays) -> Array:
        return ops.xp.sum(forward(ops, at)[0])

    def terms(ops: Ops, at: Arrays) -> Array:
        return forward(ops, at)[0]

    at = {name: arrays[name] for name in (wanted or kernel.differentiable)}
    outside = None if known(kernel) or kernel.analytic else kernel.name
    counts = {"batch size": len(at[next(iter(at))]) if "B" in _first_shape(kernel) else 0}
    counts["number of outputs"] = at[next(iter(at))].shape[-1]
    if kernel.kind == "loss":
        counts["number of values"] = at[next(iter(at))].size
    return Problem(
        title=f"kernel {kernel.name}",
        at=at,
        ops=ops,
        scalar=scalar,
        hand=hand,
        counts=counts,
        foreign=outside,
        unstated=outside is not None and kernel.kink_at is None,
        terms=terms,
    )


def named_gradients(kernel: Kernel, result: object) -> dict[str, Any]:
    """Return a backward's gradients by argument; raise ShapeError where it returns more or fewer than the kernel states."""
    values = result if isinstance(result, tuple) else (result,)
    if len(values) != len(kernel.differentiable):
        raise ShapeError(
            f"kernel {kernel.name!r} requires its backward to return {len(kernel.differentiable)} gradients "
            f"({', '.join('d' + n for n in kernel.differentiable)}), got {len(values)}."
        )
    return dict(zip(kernel.differentiable, values, strict=True))


def _first_shape(kernel: Kernel) -> tuple[str | int, ...]:
    return kernel.shapes.get(kernel.differentiable[0], ())[:1]


def _as_numbers(kernel: Kernel, name: str, value: object) -> HostArray:
    array = np.asarray(value)
    if name in kernel.differentiable:
        if array.dtype.kind != "f":
            raise ConfigError(
                f"kernel {kernel.name!r} requires {name} of floating-point numbers, got {array.dtype}. "
                f"Nothing can be differentiated by whole numbers; pass {name}.astype(float)."
            )
        return array.astype(np.float64)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _sample(kernel: Kernel, name: str, rng: np.random.Generator) -> Array:
    """Draw an argument from its domain, away from a kink at 0."""
    if name not in kernel.shapes:
        raise ConfigError(
            f"kernel {kernel.name!r} requires a shape for its argument {name!r}, that it can be sampled, got "
            f"{', '.join(kernel.shapes) or 'none'}. State it in `shapes`, or give the arguments."
        )
    letters = {d.partition("+")[0]: 2 for d in kernel.shapes[name] if isinstance(d, str)}
    shape = tuple(extent(d, letters | DIMENSIONS) for d in kernel.shapes[name])
    domain = kernel.domain.get(name, "real")
    if domain == "counter":
        return rng.integers(0, 2**32, shape, dtype=np.uint32)
    if domain in ("boolean", "binary", "class"):
        return (rng.random(shape) < 0.5).astype(np.float64 if domain == "binary" else np.int32)
    if domain in ("positive", "probability"):
        return rng.uniform(0.1, 0.9, shape)
    if domain == "distribution":
        values = rng.uniform(0.1, 1.0, shape)
        return values / values.sum(axis=-1, keepdims=True)
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.05, 2.0, shape)
