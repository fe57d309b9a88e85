"""Forward mode, one kernel at a time: the derivative of its output along a direction of its arguments.

On a backend that differentiates (JAX) it is the transpose of the hand-written backward: dy -> kernel_bwd(residual, dy) is
linear, and its transpose is the derivative along a direction. On NumPy, and for any other backend on the host,
it is the complex step of the forward, so there the two directions are independent of each other; the derivative of a custom
kernel that has no complex step comes from extrapolated differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bpengine.backend import Backend, HostArray, get_backend
from bpengine.derivatives.differences import extrapolated
from bpengine.derivatives.stepped import STATED_ERROR, NotSteppable, derivative, stepped
from bpengine.errors import ConfigError, DataError, ShapeError, unknown
from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._kernel import Array, Namespace
from bpengine.kernels._trees import Tree
from bpengine.layers.layer import Arrays, HostArrays
from bpengine.system.quiet import Quiet


class Tangent(NamedTuple):
    """A kernel's output, its derivative along a direction, the error of the derivative, and the method.

    y, dy: NumPy arrays of one shape. error: relative to the largest element of dy, in float64; it is a bound for "transpose
    of the backward" and "complex step", apart from rounding in the kernel itself, and an estimate for "differences".

    >>> tangent = bp.jvp("sigmoid", [[[0.0]]], [[[1.0]]])
    >>> tangent.y.item(), tangent.dy.item(), tangent.how
    (0.5, 0.25, 'complex step')
    """

    y: HostArray
    dy: HostArray
    error: float
    how: str


def jvp(
    kernel: str | Kernel,
    arrays: object,
    tangents: object,
    *,
    options: Mapping[str, Any] | None = None,
    backend: str | Backend = "numpy",
) -> Tangent:
    """Return the derivative of one kernel's output along a direction, in float64: dy = J v.

    kernel: the name of a kernel that has a backward, or a Kernel. arrays: its arguments, {name: array} or in order.
    tangents: the direction, {name: array} for some of the differentiable arguments (0 for the others), or in their order.
    options: those of the kernel. backend: "jax" transposes the hand-written backward, "numpy" uses the complex step of the
    forward.

    The error is at most 1e-6 of the largest element, and is returned: 1e-12 on both backends for the engine's kernels.
    Raises ConfigError for an unknown name, option, or a kernel without a backward; ShapeError for a tangent of another shape.

    >>> bp.jvp("tanh", [[[0.0, 1.0]]], [[[1.0, 1.0]]]).dy.round(4)
    array([[1.  , 0.42]])
    """
    row = _row(kernel)
    for option in options or {}:
        if option not in row.options:
            raise unknown(f"option of kernel {row.name!r}:", option, row.options or ["none"])
    at = _arguments(row, arrays)
    v = _tangents(row, tangents, at)
    chosen = get_backend(backend, precision="float64") if not isinstance(backend, Backend) else backend
    return (_transposed if chosen.differentiates else _on_host)(row, at, v, dict(options or {}), chosen)


def _transposed(kernel: Kernel, at: HostArrays, v: HostArrays, options: dict[str, Any], backend: Backend) -> Tangent:
    """Transpose dy -> kernel_bwd(residual, dy)."""

    def run(at: Arrays, v: Arrays) -> tuple[Array, Array]:
        y, residual = _forward(kernel, backend.xp, at, options)

        def back(dy: Array) -> tuple[Array, ...]:
            gradients = _backward(kernel)(backend.xp, residual, dy)
            return gradients if isinstance(gradients, tuple) else (gradients,)

        return y, backend.transposed(back, y)(tuple(v[name] for name in kernel.differentiable))

    there = {name: backend.asarray(a, backend.dtype if a.dtype.kind == "f" else None) for name, a in at.items()}
    moving = {name: backend.asarray(a, backend.dtype) for name, a in v.items()}
    y, dy = backend.compile(run)(there, moving)
    values = np.array(backend.to_numpy(y)), np.array(backend.to_numpy(dy))
    eps = float(np.finfo(backend.dtype).eps)
    return Tangent(*values, max(STATED_ERROR, 64.0 * eps), "transpose of the backward")


def _on_host(kernel: Kernel, at: HostArrays, v: HostArrays, options: dict[str, Any], backend: Backend) -> Tangent:
    """Use the complex step for a forward of the engine or one declared analytic; differences for any other."""
    size = max((float(np.max(np.abs(a), initial=0.0)) for a in v.values()), default=0.0) or 1.0
    unit = {name: a / size for name, a in v.items()}
    with Quiet():
        y = np.asarray(_forward(kernel, np, at, options)[0])
        if kernel.analytic or KERNELS.get(kernel.name) is kernel:
            try:
                moved = {**at, **{name: stepped(at[name], unit[name]) for name in v}}
                dy = derivative(_forward(kernel, np, moved, options)[0])
                return Tangent(y, size * np.broadcast_to(dy, y.shape), STATED_ERROR, "complex step")
            except NotSteppable:
                pass
        return _by_differences(kernel, at, unit, options, y, size)


def _by_differences(
    kernel: Kernel, at: HostArrays, unit: HostArrays, options: dict[str, Any], y: HostArray, size: float
) -> Tangent:
    def moved(t: float) -> HostArray:
        there = {**at, **{name: at[name] + t * unit[name] for name in unit}}
        return np.asarray(_forward(kernel, np, there, options)[0])

    dy, error = extrapolated(moved)
    largest = float(np.max(np.abs(dy), initial=0.0))
    return Tangent(y, size * dy, error / largest if largest else error, "differences")


def _forward(kernel: Kernel, xp: Namespace, at: Arrays, options: dict[str, Any]) -> tuple[Array, Tree]:
    values = [at.get(name) for name in kernel.arguments]
    y, residual = kernel.forward(xp, *values, **options)
    return y, residual


def _backward(kernel: Kernel) -> Callable[..., Tree]:
    assert kernel.backward is not None  # see `_row`
    return kernel.backward


def _row(kernel: str | Kernel) -> Kernel:
    if isinstance(kernel, str) and kernel in KERNELS:
        kernel = KERNELS[kernel]
    if not isinstance(kernel, Kernel):
        raise unknown("kernel", kernel, KERNELS)
    if kernel.backward is None:
        raise ConfigError(f"kernel {kernel.name!r} has no backward: {kernel.no_backward or 'it is not differentiated'}")
    return kernel


def _arguments(kernel: Kernel, values: object) -> HostArrays:
    arrays = {name: np.asarray(a) for name, a in _named(kernel, "arrays", kernel.arguments, values).items()}
    if missing := [name for name in kernel.arguments if name not in (*arrays, *kernel.optional)]:
        raise ConfigError(
            f"jvp requires the arguments {', '.join(kernel.arguments)}, got none for {', '.join(missing)}."
        )
    for name in kernel.differentiable:
        arrays[name] = _real(kernel, name, arrays[name])
    return arrays


def _tangents(kernel: Kernel, values: object, at: HostArrays) -> HostArrays:
    """Return a direction for every differentiable argument of the kernel, zeros where none is given."""
    named = _named(kernel, "tangents", kernel.differentiable, values)
    direction = {name: _real(kernel, name, named.get(name, np.zeros(at[name].shape))) for name in kernel.differentiable}
    for name, v in direction.items():
        if v.shape != at[name].shape:
            raise ShapeError(f"jvp requires a tangent of shape {at[name].shape} for {name}, got {v.shape}.")
    return direction


def _named(kernel: Kernel, what: str, names: tuple[str, ...], values: object) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        if not isinstance(values, (tuple, list)) or len(values) > len(names):
            raise ConfigError(
                f"jvp requires {what} as a dict or as a list of at most {len(names)} ({', '.join(names)}), got "
                f"{f'{len(values)} of them' if isinstance(values, (tuple, list)) else type(values).__name__}."
            )
        values = dict(zip(names, values, strict=False))
    for name in values:
        if name not in names:
            raise unknown(f"name among the {what} of kernel {kernel.name!r}:", name, names)
    return {name: value for name, value in values.items() if value is not None}


def _real(kernel: Kernel, name: str, value: object) -> HostArray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DataError(f"kernel {kernel.name!r} requires {name} of real numbers, got {array.dtype}.")
    return array.astype(np.float64)
