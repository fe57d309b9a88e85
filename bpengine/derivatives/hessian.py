"""Products with the Hessian of the loss.

H v is the derivative of the gradient along v. The gradient is the hand-written one; only its derivative along v is
computed otherwise: by forward mode on a backend that differentiates (JAX); on NumPy, and for CuPy on the host, by a complex
step through forward and backward in float64; for a network with a custom layer, by extrapolated differences.
Source: Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6, 1994.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.derivatives.differences import extrapolated
from bpengine.derivatives.rows import batched
from bpengine.derivatives.stepped import NotSteppable, derivative, stepped
from bpengine.errors import ConfigError, DataError, ShapeError
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, HostArrays
from bpengine.network import INFERENCE
from bpengine.ops import Ops
from bpengine.system.quiet import Quiet
from bpengine.training.evaluation import Evaluator
from bpengine.training.rows import Rows
from bpengine.training.selection import known

DIFFERENCE_ERROR = 1e-6  # the largest accepted error of differences, relative to the largest element of H v

Product = Callable[[HostArrays], HostArrays]  # v -> H v, both with an array for every parameter, in float64


def check_direction(v: object, params: Mapping[str, Any], names: Mapping[str, str]) -> HostArrays:
    """Return v with an array in float64 for every parameter, zeros where it names none.

    names: every name of a parameter -> its first name.
    Raises ConfigError for an unknown name, ShapeError for a wrong shape, DataError for values that are not finite numbers.
    """
    if not isinstance(v, Mapping):
        raise ConfigError(
            f"hvp requires v as a dict of arrays by parameter name, like `parameters`, got {type(v).__name__}."
        )
    direction = known("hvp", v, names)
    return {name: _checked(name, direction.get(name), tuple(array.shape)) for name, array in params.items()}


def _checked(name: str, value: object, shape: tuple[int, ...]) -> HostArray:
    if value is None:
        return np.zeros(shape)
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DataError(f"hvp requires v[{name!r}] to hold real numbers, got {array.dtype}.")
    if array.shape != shape:
        raise ShapeError(f"hvp requires v[{name!r}] of the shape {shape} of its parameter, got {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise DataError(f"hvp requires finite numbers, got some in v[{name!r}] that are not.")
    return array.astype(np.float64)


def product(run: Evaluator, params: Arrays, running: Arrays, rows: Rows) -> Product:
    """Return the product with the Hessian of the loss over all rows, penalties included, outside training."""
    return (
        _forward_mode(run, params, running, rows)
        if run.backend.differentiates
        else _on_host(run, params, running, rows)
    )


def _forward_mode(run: Evaluator, params: Arrays, running: Arrays, rows: Rows) -> Product:
    network, ops, backend, batch = run.network, run.ops, run.backend, run.bring(rows)

    def along(
        params: Arrays, v: Arrays, running: Arrays, x: Array, target: Array, weights: Array | None = None
    ) -> Arrays:
        def gradients(params: Arrays) -> Arrays:
            return network.loss_and_gradients(ops, params, running, x, target, weights, INFERENCE)[1]

        product: Arrays = backend.jvp(gradients, (params,), (v,))[1]
        return product

    compiled = run.compile("hessian product", along)

    def times(v: HostArrays) -> HostArrays:
        there = {name: backend.asarray(array, backend.dtype) for name, array in v.items()}
        product = compiled(params, there, running, *batch)
        return {name: np.asarray(backend.to_numpy(product[name]), np.float64) for name in v}

    return times


def _on_host(run: Evaluator, params: Arrays, running: Arrays, rows: Rows) -> Product:
    at, kept = ({n: _double(run, a) for n, a in arrays.items()} for arrays in (params, running))
    x, target, *weights = [_double(run, a) for a in run.bring(rows)]
    ops = Ops(np)

    def gradients(at: Arrays) -> Arrays:
        with Quiet():
            weight = weights[0] if weights else None
            return run.network.loss_and_gradients(ops, at, kept, x, target, weight, INFERENCE)[1]

    def times(v: HostArrays) -> HostArrays:
        size = max((float(np.max(np.abs(a), initial=0.0)) for a in v.values()), default=0.0)
        if size == 0.0:
            return {name: np.zeros(a.shape) for name, a in v.items()}
        unit = {name: a / size for name, a in v.items()}
        return {name: size * a for name, a in _derivative(gradients, at, unit, batched(run.network)).items()}

    return times


def _double(run: Evaluator, array: Array) -> HostArray:
    """Return an array of the backend on the host; floating-point numbers in float64."""
    host = run.backend.to_numpy(array)
    return np.asarray(host, np.float64) if host.dtype.kind == "f" else np.asarray(host)


def _derivative(gradients: Callable[[Arrays], Arrays], at: HostArrays, v: HostArrays, known: bool) -> HostArrays:
    """Return the derivative of the gradients along v, by complex step where all layers and the loss are the engine's."""
    # The complex step is exact to rounding, but every operation must accept complex numbers.
    if known:
        try:
            gradient = gradients({name: stepped(a, v[name]) if v[name].any() else a for name, a in at.items()})
            return {name: derivative(gradient[name]) for name in at}
        except NotSteppable:
            pass
    return _by_differences(gradients, at, v)


def _by_differences(gradients: Callable[[Arrays], Arrays], at: HostArrays, v: HostArrays) -> HostArrays:
    """Return the derivative by extrapolated differences; raise ConfigError where they are not exact enough."""
    scale = min(_size(a) / max(float(np.max(np.abs(v[name]), initial=0.0)), 1e-300) for name, a in at.items() if a.size)

    def moved(t: float) -> HostArray:
        gradient = gradients({name: a + (t * scale) * v[name] for name, a in at.items()})
        return np.concatenate([np.ravel(np.asarray(gradient[name])) for name in at])

    flat, error = extrapolated(moved)
    flat, error = flat / scale, error / scale
    largest = float(np.max(np.abs(flat), initial=0.0))
    floor = np.finfo(np.float64).eps ** 0.5 * float(np.max(np.abs(moved(0.0)), initial=0.0)) / scale
    if not error <= DIFFERENCE_ERROR * max(largest, floor):
        raise ConfigError(
            f"the product with the Hessian requires a gradient that is smooth along v, got differences with an estimated "
            f"error of {error:.1e} beside {largest:.1e}: a layer of one's own has a kink near this point, or jumps. "
            "backend='jax' differentiates it without differences."
        )
    ends = np.cumsum([a.size for a in at.values()])[:-1]
    return {name: part.reshape(at[name].shape) for name, part in zip(at, np.split(flat, ends), strict=True)}


def _size(array: HostArray) -> float:
    """Return the typical size of an array's elements, 1 where all are 0."""
    usual = float(np.sqrt(np.mean(array**2)))
    return usual if usual > 0 else 1.0
