"""compare_backends: run the same network on several backends and report where two of them first disagree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bpengine.backend import ArrayLike, Backend, backend_names, get_backend
from bpengine.check.backends.measure import Measured, MeasureSetup, measure
from bpengine.check.reports.backend_report import Comparison, Difference
from bpengine.check.tolerance.stochastic_rounding import (
    DRAWS,
    StochasticRoundingOps,
    machine_epsilon,
    rounding_allowance,
)
from bpengine.errors import ConfigError, items, whole
from bpengine.kernels._kernel import Array
from bpengine.network import Network
from bpengine.training.optimizers import Optimizer, make_optimizer
from bpengine.training.rows import check_rows

Key = tuple[str, str]  # part, array


def compare_backends(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    backends: Sequence[str | Backend] = ("numpy", "jax"),
    *,
    steps: int = 10,
    dtype: str = "float32",
    seed: int = 0,
    optimizer: str | Optimizer = "adam",
    weights: ArrayLike | None = None,
) -> Comparison:
    """Run a network on each backend and compare with the first of them: every layer's output, gradients, parameters.

    All start from the same weights and use the same rows; each of the `steps` training steps uses all rows. The tolerance is
    what rounding explains: the rounding of the longest sum, and the spread of randomly rounded runs of the reference.
    Raises ConfigError, DataError or BackendUnavailable.

    >>> import bpengine as bp
    >>> network = bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "mean_squared_error")
    >>> comparison = compare_backends(network, [[0.0, 1.0], [1.0, 1.0]], [1.0, 0.0], ["numpy", "numpy"], steps=2)
    >>> comparison.verdict()
    'passed: numpy 1 and numpy 2 agree in float32, network 2-3-1'
    """
    compared = _backends(network, backends, steps, dtype)
    rows = check_rows(network, x, y, weights, dtype=dtype)
    params, running = network.init(seed)
    setup = MeasureSetup(
        network=network,
        rows=rows,
        params=params,
        running=running,
        steps=int(steps),
        seed=seed,
        optimizer=make_optimizer(optimizer),
    )
    reference, *others = [measure(setup, backend) for backend in compared]
    sizes, names = _sizes(reference), _distinct([b.name for b in compared])
    limits = _limits(setup, compared, reference, sizes)
    differences = [
        _difference(key, name, float(_largest(other[key] - reference[key])), sizes[key], limits[key], dtype)
        for key in reference
        for name, other in zip(names[1:], others, strict=True)
    ]
    shape = "-".join(map(str, network.sizes))
    return Comparison(
        network=f"network {shape}",
        reference=names[0],
        backends=tuple(names[1:]),
        dtype=dtype,
        steps=int(steps),
        differences=tuple(differences),
    )


def _backends(network: object, backends: object, steps: object, dtype: str) -> list[Backend]:
    if not isinstance(network, Network):
        raise ConfigError(f"compare_backends requires a bp.Network, got {network!r}.")
    several = [backends] if isinstance(backends, (str, Backend)) else items(backends, "compare_backends", "backends")
    if len(several) < 2:
        raise ConfigError(
            f"compare_backends requires at least two backends, got {len(several)}. Known: {', '.join(backend_names())}."
        )
    whole(steps, "compare_backends", "steps", low=0)
    return [get_backend(b, precision=dtype) for b in several]


def _limits(
    setup: MeasureSetup, compared: list[Backend], reference: Measured, sizes: dict[Key, float]
) -> dict[Key, float]:
    """Return the largest difference of each array that rounding explains."""
    longest, eps = (
        max(len(setup.rows.x), *setup.network.sizes),
        max(machine_epsilon(b.precision) for b in compared),
    )
    ops = compared[0].ops()
    runs = [measure(setup, compared[0], StochasticRoundingOps(ops, eps, draw)) for draw in range(DRAWS)]
    moved = {key: [_largest(run[key] - value) for run in runs] for key, value in reference.items()}
    return {key: rounding_allowance(moved[key], sizes[key], longest, eps) for key in reference}


def _sizes(reference: Measured) -> dict[Key, float]:
    """Return the largest element of each array, or a thousandth of the largest in the same part."""
    largest = {key: _largest(value) for key, value in reference.items()}
    parts = {part: max(v for (p, _), v in largest.items() if p == part) for part, _ in largest}
    return {key: max(v, 1e-3 * parts[key[0]], float(np.finfo(float).tiny)) for key, v in largest.items()}


def _largest(values: Array) -> float:
    return float(np.max(np.nan_to_num(np.abs(values), nan=math.inf), initial=0.0))


def _difference(key: Key, name: str, wrong: float, size: float, limit: float, dtype: str) -> Difference:
    unit = float(np.spacing(np.asarray(size, dtype=dtype)))
    part, array = key
    return Difference(
        part=part, array=array, backend=name, error=wrong / size, ulp=wrong / unit, tolerance=limit / size
    )


def _distinct(names: list[str]) -> list[str]:
    """Return the names, numbered where a name occurs twice."""
    return [n if names.count(n) == 1 else f"{n} {names[: i + 1].count(n)}" for i, n in enumerate(names)]
