"""compare_backends: the same network on several backends, side by side, and the first place where they part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bpengine.backend import Backend, get_backend
from bpengine.check.measurement import Measured, Setup, measure
from bpengine.check.own import agreement
from bpengine.check.report import finite
from bpengine.check.rounding import RoundedOps
from bpengine.errors import ConfigError
from bpengine.network import Network
from bpengine.training.inputs import check_rows
from bpengine.training.optimizers import Optimizer, make_optimizer

HEADS = ("part", "array", "backend", "error", "ulp", "tolerance", "agrees")
DRAWS = 4  # runs with every kernel call rounded at random, which show how far rounding alone may carry
ROOM = 16.0  # times what those runs show


@dataclass(frozen=True)
class Difference:
    """One array of one backend against the reference: the largest difference relative to the largest element, in ulp."""

    part: str
    array: str
    backend: str
    error: float
    ulp: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """True when the difference is within the tolerance."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Comparison:
    """What `compare_backends` found: forward by layer, gradients, parameters after training, in that order."""

    network: str
    reference: str
    backends: tuple[str, ...]
    dtype: str
    steps: int
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """True when every backend agrees with the reference everywhere."""
        return all(d.agrees for d in self.differences)

    @property
    def first(self) -> Difference | None:
        """The first difference beyond its tolerance, in the order of the computation; None without any."""
        return next((d for d in self.differences if not d.agrees), None)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table under `HEADS`."""
        return [
            (d.part, d.array, d.backend, f"{d.error:.1e}", f"{d.ulp:.3g}", f"{d.tolerance:.1e}", "yes" if d.agrees else "NO")
            for d in self.differences
        ]  # fmt: skip

    def verdict(self) -> str:
        """Return the finding in a sentence."""
        if self.first is None:
            return f"passed: {self.reference} and {', '.join(self.backends)} agree in {self.dtype}, {self.network}"
        d = self.first
        return (
            f"FAILED: {d.backend} and {self.reference} part first in {d.part}, {d.array}: {d.error:.1e} relative, "
            f"{d.ulp:.3g} ulp, where {d.tolerance:.1e} is what rounding explains"
        )

    def table(self) -> str:
        """Return the table as plain text."""
        rows = [HEADS, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def __str__(self) -> str:
        return f"{self.verdict()}\n\n{self.table()}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        told = {**asdict(self), "passed": self.passed, "first": None if self.first is None else asdict(self.first)}
        for difference, row in zip(self.differences, told["differences"], strict=True):
            row["agrees"] = difference.agrees
        cleaned: dict[str, Any] = finite(told)
        return cleaned


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
    that of dtype and the longest sum, plus sixteen times how far the reference moves when every kernel call is rounded anew.
    Raises ConfigError, DataError or BackendUnavailable.
    """
    if not isinstance(network, Network):
        raise ConfigError(f"compare_backends requires a bp.Network, got {network!r}.")
    given = [backends] if isinstance(backends, (str, Backend)) else list(backends)
    if len(given) < 2:
        raise ConfigError(
            f"compare_backends requires at least two backends, got {len(given)}. Known: numpy, jax, cupy."
        )
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise ConfigError(f"compare_backends requires steps to be a whole number of at least 0, got {steps!r}.")
    made = [get_backend(b, precision=dtype) for b in given]
    rows = check_rows(network, x, y, weights)
    setup = Setup(network, rows, *network.init(seed), int(steps), seed, make_optimizer(optimizer))
    reference, *others = [measure(setup, backend) for backend in made]
    eps = float(np.finfo(made[0].dtype).eps)
    moved = [measure(setup, made[0], RoundedOps(made[0].ops(), eps, draw)) for draw in range(DRAWS)]
    limits = _limits(setup, reference, moved, dtype)
    names = _distinct([b.name for b in made])
    found = [
        _difference(key, name, reference, other, limits, dtype)
        for key in reference
        for name, other in zip(names[1:], others, strict=True)
    ]
    shape = "-".join(map(str, network.sizes))
    return Comparison(f"network {shape}", names[0], tuple(names[1:]), dtype, int(steps), tuple(found))


def _limits(setup: Setup, reference: Measured, moved: list[Measured], dtype: str) -> dict[tuple[str, str], float]:
    longest = max(len(setup.rows.x), *setup.network.sizes) * len(setup.network.layers)
    base = agreement(dtype, longest)
    spread = {k: max(float(np.max(np.abs(m[k] - v), initial=0.0)) for m in moved) for k, v in reference.items()}
    return {k: base * _size(k, reference) + ROOM * spread[k] for k in reference}


def _size(key: tuple[str, str], reference: Measured) -> float:
    """Return the largest element, or a thousandth of the largest in the same part."""
    largest = {k: float(np.max(np.abs(v), initial=0.0)) for k, v in reference.items() if k[0] == key[0]}
    return max(largest[key], 1e-3 * max(largest.values()), float(np.finfo(float).tiny))


def _difference(
    key: tuple[str, str],
    name: str,
    reference: Measured,
    other: Measured,
    limits: dict[tuple[str, str], float],
    dtype: str,
) -> Difference:
    size = _size(key, reference)
    wrong = float(np.max(np.nan_to_num(np.abs(other[key] - reference[key]), nan=math.inf), initial=0.0))
    unit = float(np.spacing(np.asarray(size, dtype=dtype)))
    return Difference(*key, name, wrong / size, wrong / unit, limits[key] / size)


def _distinct(names: list[str]) -> list[str]:
    """Return the names, numbered where one occurs twice."""
    return [n if names.count(n) == 1 else f"{n} {names[: i + 1].count(n)}" for i, n in enumerate(names)]
