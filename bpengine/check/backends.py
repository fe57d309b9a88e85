"""compare_backends: the same network on several backends, side by side, and the first place where they part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bpengine.backend import Backend, backend_names, get_backend
from bpengine.check import rounding
from bpengine.check.comparison import Comparison, Difference
from bpengine.check.measurement import Measured, Setup, measure
from bpengine.errors import ConfigError, items, whole
from bpengine.network import Network
from bpengine.training.optimizers import Optimizer, make_optimizer
from bpengine.training.rows import check_rows

Key = tuple[str, str]  # part, array


def compare_backends(
    network: Network,
    x: Any,
    y: Any,
    backends: Sequence[str | Backend] = ("numpy", "jax"),
    *,
    steps: int = 10,
    dtype: str = "float32",
    seed: int = 0,
    optimizer: str | Optimizer = "adam",
    weights: Any = None,
) -> Comparison:
    """Run a network on each backend and compare with the first of them: every layer's output, gradients, parameters.

    All start from the same weights and see the same rows; `steps` steps of training take all rows each. The tolerance is
    what rounding explains: that of sums as long as the longest, and what runs of the reference with random rounding show.
    Raises ConfigError, DataError or BackendUnavailable.
    """
    made = _made(network, backends, steps, dtype)
    rows = check_rows(network, x, y, weights, dtype=dtype)
    setup = Setup(network, rows, *network.init(seed), int(steps), seed, make_optimizer(optimizer))
    reference, *others = [measure(setup, backend) for backend in made]
    sizes, names = _sizes(reference), _distinct([b.name for b in made])
    limits = _limits(setup, made, reference, sizes)
    found = [
        _difference(key, name, float(_largest(other[key] - reference[key])), sizes[key], limits[key], dtype)
        for key in reference
        for name, other in zip(names[1:], others, strict=True)
    ]
    shape = "-".join(map(str, network.sizes))
    return Comparison(f"network {shape}", names[0], tuple(names[1:]), dtype, int(steps), tuple(found))


def _made(network: Any, backends: Any, steps: Any, dtype: str) -> list[Backend]:
    if not isinstance(network, Network):
        raise ConfigError(f"compare_backends requires a bp.Network, got {network!r}.")
    given = [backends] if isinstance(backends, (str, Backend)) else items(backends, "compare_backends", "backends")
    if len(given) < 2:
        raise ConfigError(
            f"compare_backends requires at least two backends, got {len(given)}. Known: {', '.join(backend_names())}."
        )
    whole(steps, "compare_backends", "steps", low=0)
    return [get_backend(b, precision=dtype) for b in given]


def _limits(setup: Setup, made: list[Backend], reference: Measured, sizes: dict[Key, float]) -> dict[Key, float]:
    """Return the largest difference of each array that rounding explains."""
    longest, eps = max(len(setup.rows.x), *setup.network.sizes), max(rounding.unit(b.precision) for b in made)
    ops = made[0].ops()
    runs = [measure(setup, made[0], rounding.RoundedOps(ops, eps, draw)) for draw in range(rounding.DRAWS)]
    moved = {key: [_largest(run[key] - value) for run in runs] for key, value in reference.items()}
    return {key: rounding.allowance(moved[key], sizes[key], longest, eps) for key in reference}


def _sizes(reference: Measured) -> dict[Key, float]:
    """Return the largest element of each array, or a thousandth of the largest in the same part."""
    largest = {key: _largest(value) for key, value in reference.items()}
    parts = {part: max(v for (p, _), v in largest.items() if p == part) for part, _ in largest}
    return {key: max(v, 1e-3 * parts[key[0]], float(np.finfo(float).tiny)) for key, v in largest.items()}


def _largest(values: Any) -> float:
    return float(np.max(np.nan_to_num(np.abs(values), nan=math.inf), initial=0.0))


def _difference(key: Key, name: str, wrong: float, size: float, limit: float, dtype: str) -> Difference:
    unit = float(np.spacing(np.asarray(size, dtype=dtype)))
    return Difference(*key, name, wrong / size, wrong / unit, limit / size)


def _distinct(names: list[str]) -> list[str]:
    """Return the names, numbered where one occurs twice."""
    return [n if names.count(n) == 1 else f"{n} {names[: i + 1].count(n)}" for i, n in enumerate(names)]
