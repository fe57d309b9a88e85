"""Sample arguments for any kernel, made from its row of the table: shapes, domain, options."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import as_host
from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._kernel import extent

DIMENSIONS = ({"B": 5, "I": 4, "O": 3}, {"B": 1, "I": 3, "O": 4}, {"B": 4, "I": 2, "O": 1}, {"B": 1, "I": 1, "O": 1})
LARGE = {"B": 259, "I": 131, "O": 67}  # beyond any block or vector length, and a multiple of none
AWAY = 0.04  # from a kink at least: beyond any step of a difference


@dataclass(frozen=True)
class Case:
    """One way to call a kernel: its options, and whether optional arrays and whole-number targets are given."""

    kernel: Kernel
    options: Any
    optional: bool
    labels: bool = False

    @property
    def id(self) -> str:
        options = "-".join(f"{k}={v}" for k, v in self.options.items())
        flags = ["optional"] * self.optional + ["labels"] * self.labels
        return "-".join(filter(None, [self.kernel.name, options, *flags]))

    @property
    def complete(self) -> bool:
        """Tell whether a formula, which names every argument, can be evaluated (where rows may have weights it can)."""
        return self.optional or self.kernel.optional in ((), ("weights",))

    def arguments(self, rng: np.random.Generator, dims: dict[str, int], dtype: Any = np.float64) -> dict[str, Any]:
        """Return the arrays, by argument name, read-only."""
        names = [n for n in self.kernel.arguments if self.optional or n not in self.kernel.optional]
        arrays = {}
        for name in names:
            shape = tuple(extent(d, dims) for d in self.kernel.shapes[name])
            domain = self.kernel.domain.get(name, "real")
            if self.labels and name == "target":
                arrays[name] = rng.integers(0, shape[1], shape[0])
            else:
                arrays[name] = sample(rng, domain, shape, dtype)
        if "target" in arrays and self.kernel.target == "values":
            arrays["target"] = arrays["target"] + arrays["y"]  # away from a kink at y = target
        if self.kernel.kind == "activation":
            arrays["x"] = self._around_kinks(arrays["x"])
        for array in arrays.values():
            array.flags.writeable = False
        return arrays

    def _around_kinks(self, x: Any) -> Any:
        """Stretch x until it reaches beyond every kink that the row states, and move what is near one away from it."""
        farthest = max((float(abs(distance[0])) for distance in self._distances(np.zeros(1, x.dtype))), default=0.0)
        x = x * x.dtype.type(max(1.0, farthest))
        for distance in self._distances(x):
            x = x + np.where(np.abs(distance) < AWAY, np.copysign(AWAY, distance), 0.0).astype(x.dtype)
        return x

    def _distances(self, x: Any) -> list[Any]:
        kinks = self.kernel.kink_at(np, x, **self.options) if self.kernel.kink_at else []
        return [distance for _, distance in (kinks if isinstance(kinks, list) else [kinks])]


def sample(rng: np.random.Generator, domain: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """Draw an array of a domain, away from kinks at 0."""
    if domain == "counter":
        return rng.integers(0, 2**32, shape, dtype=np.uint32)
    if domain == "boolean":
        return rng.random(shape) < 0.5
    if domain == "class":
        return rng.integers(0, 2, shape)
    if domain == "binary":
        return np.asarray(rng.random(shape) < 0.5, dtype=dtype)
    if domain in ("positive", "probability"):
        return np.asarray(rng.uniform(0.1, 0.9, shape), dtype=dtype)
    if domain == "distribution":
        values = rng.uniform(0.1, 1.0, shape)
        return np.asarray(values / values.sum(axis=-1, keepdims=True), dtype=dtype)
    return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.05, 2.0, shape), dtype=dtype)


def cases(**having: Any) -> list[Case]:
    """Return every case of every kernel, or of those with the given truth values of fields."""
    rows = [k for k in KERNELS.values() if all(bool(getattr(k, n)) == v for n, v in having.items())]
    samples = []
    for kernel in rows:
        for options in kernel.variants:
            samples += [Case(kernel, options, optional) for optional in ([False, True] if kernel.optional else [False])]
            if kernel.target == "classes":
                samples.append(Case(kernel, options, True, labels=True))
    return samples


def has_pair(kernel: Kernel) -> bool:
    """Tell whether the forward returns (output, residual) and not just its outputs."""
    return kernel.forward.__name__.endswith("_fwd")


def outputs(kernel: Kernel, result: Any) -> tuple[Any, ...]:
    """Return what a forward gave, without its residual, as a tuple."""
    if has_pair(kernel):
        return (result[0],)
    return result if isinstance(result, tuple) else (result,)


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def leaves(value: Any) -> list[Any]:
    """Return the arrays and numbers inside nested tuples; None holds nothing."""
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value is None else [value]


def cotangent(rng: np.random.Generator, output: Any) -> Any:
    """Draw a read-only cotangent for an output."""
    d = np.asarray(rng.normal(size=np.shape(output)), dtype=output.dtype)
    d.flags.writeable = False
    return d


def relative_error(got: Any, expected: Any) -> float:
    """Return the largest difference over the largest expected element (or 1e-3, if all are smaller)."""
    got, expected = as_host(got), as_host(expected)
    assert got.shape == expected.shape
    assert np.all(np.isfinite(got))
    if not expected.size:
        return 0.0
    difference = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    return float(np.max(difference) / max(float(np.max(np.abs(expected))), 1e-3))


def longest_sum(kernel: Kernel, dims: dict[str, int]) -> int:
    """Return the length of the longest sum: over the letters that a result has not, or over one of its own (a mean)."""
    shapes = {name: {d.partition("+")[0] for d in shape if isinstance(d, str)} for name, shape in kernel.shapes.items()}
    letters = set().union(*shapes.values())
    over = [letters - shapes[name] for name in (*kernel.outputs, *kernel.differentiable)]
    return max(math.prod(dims[letter] for letter in summed) for summed in [*over, *({letter} for letter in letters)])
