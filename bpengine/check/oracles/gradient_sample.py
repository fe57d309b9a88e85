"""One number of a gradient, an element or an inner product, with its estimate; and which numbers are sampled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.check.oracles.finite_differences import ENOUGH, Estimate
from bpengine.check.problems.problem import Problem
from bpengine.streams import stream

ALL_UP_TO = 256  # elements: with more, SAMPLED of each array are compared one by one
SAMPLED = 8
DIRECTIONS = 3  # directions of the inner-product test for each array: the cost does not depend on the array's size


@dataclass(frozen=True, kw_only=True)
class GradientSample:
    """One number: its name, as written by hand, as estimated, what counts as large, and the size of a step.

    left_out: a kink made it impossible at the point; it was then computed at a nearby point, unless that estimate is left out
    too. index: that of an element.
    """

    element: str
    hand: float
    estimate: Estimate
    large: float
    unit: float
    order: float | None = None
    left_out: bool = False
    index: tuple[int, ...] | None = None

    @property
    def scale(self) -> float:
        """The size that its error is relative to."""
        return max(self.large, 0.0 if self.estimate.left_out else abs(self.estimate.value))

    @property
    def limit(self) -> float:
        """The largest difference that the estimate allows, relative to `scale`."""
        exact = not self.estimate.rungs
        error = self.estimate.error
        return (error if exact else 8.0 * error + 10.0 * ENOUGH * self.scale) / self.scale

    @property
    def error(self) -> float:
        """The difference, relative to `scale`; infinite where the gradient is not finite."""
        difference = abs(self.hand - self.estimate.value) / self.scale
        return difference if math.isfinite(difference) else math.inf


def sampled_elements(problem: Problem, name: str, hand: HostArray, seed: int) -> list[tuple[int, ...]]:
    """Return the elements of an array that are compared one by one: all of them, or a few drawn at random."""
    flat = np.arange(problem.at[name].size)
    if not _all_compared(problem, name):
        rng = stream("check elements", seed, sorted(problem.at).index(name))
        flat = np.sort(rng.choice(flat, SAMPLED, replace=False))
        flat[0] = int(np.argmax(np.abs(hand)))  # the largest element is always among them
    return [tuple(int(i) for i in np.unravel_index(int(k), problem.at[name].shape)) for k in flat]


def random_signs(problem: Problem, name: str, seed: int) -> Iterator[Any]:
    """Yield the random directions in an array: a sign for each of its elements."""
    rng = stream("check directions", seed, sorted(problem.at).index(name))
    for _ in range(DIRECTIONS):
        yield rng.choice([-1.0, 1.0], problem.at[name].shape)


def scope(problem: Problem, seed: int) -> str:
    """Describe which elements are compared one by one."""
    names = [name for name in problem.at if not _all_compared(problem, name)]
    if not names:
        return "every element"
    sampled = f"{SAMPLED} elements sampled from {'each array' if len(names) > 1 else names[0]}, seed {seed}"
    return f"every other element, {sampled}" if len(names) < len(problem.at) else sampled


def _all_compared(problem: Problem, name: str) -> bool:
    """Tell whether every element of an array is compared, and not a sample."""
    among = sum(problem.at[n].size for n in problem.fellows(name))
    return among <= ALL_UP_TO or problem.at[name].size <= SAMPLED
