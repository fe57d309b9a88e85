"""The judgement: a hand-written gradient against a reference, array by array, with the tolerance that rounding justifies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.check import kinks, words
from bpengine.check.kinks import Kink
from bpengine.check.problem import Problem
from bpengine.check.rounding import RoundedOps
from bpengine.layers.layer import HostArrays

EXACT = 1e-12  # of an oracle that only rounds, in float64, relative to the largest element of the array
SMALL = 1e-3  # an array this much smaller than the largest gradient is judged by that one's rounding
FLOOR = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Worst:
    """The element with the largest error: its name in words, both values, and what that looks like."""

    element: str
    hand: float
    reference: float
    cause: str

    @property
    def ratio(self) -> float:
        """Hand over reference."""
        return self.hand / self.reference if self.reference else math.inf

    def text(self, oracle: str) -> str:
        """Return the sentence of the report."""
        oracle = "reference in float64" if oracle.startswith("own") else oracle
        values = f"hand {self.hand:.4g}, {oracle} {self.reference:.4g}, ratio {self.ratio:.4g}"
        return f"{self.element}: {values}" + (f": {self.cause}" if self.cause else "")


@dataclass(frozen=True)
class Verdict:
    """One array against one oracle.

    error: the largest difference relative to the largest element; ulp: the same in units of the last place of that
    element; compared: how many numbers were compared; order: of the Taylor remainder, where there is one; left_out:
    comparisons that a kink made impossible; ill: comparisons that rounding or curvature made worthless.
    """

    array: str
    oracle: str
    error: float
    ulp: float
    tolerance: float
    compared: int
    passed: bool
    worst: Worst | None = None
    order: float | None = None
    left_out: int = 0
    ill: int = 0


def scales(gradients: HostArrays) -> dict[str, float]:
    """Return what the error of each array is relative to: its largest element, or a part of the largest of all."""
    largest = {name: float(np.max(np.abs(g), initial=0.0)) for name, g in gradients.items()}
    least = max(SMALL * max(largest.values(), default=0.0), FLOOR)
    return {name: max(value, least) for name, value in largest.items()}


def conditioning(problem: Problem, met: list[Kink], eps: float, *, draws: int = 2) -> dict[str, float]:
    """Return how far rounding carries each gradient, by running it with every kernel's arguments rounded at random.

    At a kink the gradient jumps and this says nothing: it is 0 there.
    """
    moved = dict.fromkeys(problem.at, 0.0)
    if kinks.ambiguous(met, eps):
        return moved
    _, start = problem.gradients()
    for draw in range(draws):
        _, gradients = problem.gradients(RoundedOps(problem.ops, eps, draw))
        for name, g in gradients.items():
            moved[name] = max(moved[name], float(np.max(np.abs(g - start[name]), initial=0.0)))
    return moved


def compare(
    problem: Problem,
    oracle: str,
    hand: HostArrays,
    reference: HostArrays,
    allowed: Mapping[str, Any],
    *,
    dtype: Any = np.float64,
) -> list[Verdict]:
    """Judge whole arrays; `allowed` is the largest difference of each array, or of its elements, that rounding explains.

    The tolerance told is that of the strictest element.
    """
    sizes, verdicts = scales(reference), []
    for name in problem.at:
        expected, limit = reference[name], np.asarray(allowed[name])
        difference = np.nan_to_num(np.abs(hand[name] - expected), nan=np.inf)
        wrong = float(np.max(difference, initial=0.0))
        passed = bool(np.all(difference <= limit))
        worst = _worst(problem, name, hand[name], expected, limit, passed=passed) if expected.size else None
        unit = float(np.spacing(np.asarray(sizes[name], dtype=dtype)))
        ratio, tolerance = wrong / sizes[name], float(np.min(limit, initial=np.inf)) / sizes[name]
        verdicts.append(Verdict(name, oracle, ratio, wrong / max(unit, FLOOR), tolerance, expected.size, passed, worst))
    return verdicts


def exact_allowance(reference: HostArrays, rounding: Mapping[str, float]) -> dict[str, float]:
    """Return the allowance of an oracle that only rounds."""
    return {name: EXACT * size + 16.0 * rounding[name] for name, size in scales(reference).items()}


def _worst(problem: Problem, name: str, hand: Any, expected: Any, limit: Any, *, passed: bool) -> Worst:
    excess = np.nan_to_num(np.abs(hand - expected), nan=np.inf) / np.maximum(limit, FLOOR)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), hand.shape))
    looks = "" if passed else words.cause(hand, expected, index, problem.counts)
    named = words.element(name, index, hand.shape, problem.bias_rows.get(name))
    return Worst(named, float(hand[index]), float(expected[index]), looks)
