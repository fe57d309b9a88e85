"""A little aside: what to do at kinks that stand in an oracle's way, whether a kernel states them or nobody does.

At a kink the gradient is a matter of convention, and no oracle knows that of a layer of one's own. So what a kink makes
impossible at the point is done a little aside, at a point drawn at random, which lies on a kink with probability 0: there
every right backward agrees with every oracle, and a wrong one does not. What remains at the kink itself is that the
hand-written value must be finite and near the slopes on its sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine.check.problem import Problem
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops
from bpengine.streams import stream

APART = 1e-3  # of an element's size: beyond the steps of differences that are exact enough
TOUCH = 1e-9  # of an element's size: no smooth gradient moves visibly, one at a kink jumps
TRIES = 4
SIDES = 32  # points around the point


def aside(problem: Problem, seed: int) -> Problem | None:
    """Return the problem at a point a thousandth aside; None where the function is nowhere finite around."""
    for draw in range(TRIES):
        moved = replace(problem, at=_moved(problem, stream("check aside", seed, draw), APART))
        if np.isfinite(moved.value(Ops(np), moved.at)):
            return moved
    return None


@dataclass(frozen=True)
class Slopes:
    """The least and the largest hand-written gradient at points that touch the point."""

    least: HostArrays
    largest: HostArrays

    def convention(self, name: str, hand: Any, reference: Any, limit: Any) -> Any:
        """Return which elements jump there so far that the hand-written value and the reference are both among the slopes.

        A little outside of them is near enough: some points do not show all the slopes that many kinks make together. Where
        autodiff has no gradient, the hand-written value alone tells.
        """
        low, high = self.least[name], self.largest[name]
        most, least = 2.0 * high - low + limit, 2.0 * low - high - limit
        known = np.where(np.isfinite(reference), reference, hand)
        return (least <= np.minimum(hand, known)) & (np.maximum(hand, known) <= most)


def slopes(problem: Problem, seed: int) -> Slopes:
    """Return the slopes around the point. They are those of the hand-written backward: it must have been found right aside."""
    points = (_moved(problem, stream("check slopes", seed, k), TOUCH) for k in range(SIDES))
    found = [problem.gradients(at=point)[1] for point in points]
    stacked = {name: np.stack([gradients[name] for gradients in found]) for name in problem.at}
    return Slopes({n: a.min(axis=0) for n, a in stacked.items()}, {n: a.max(axis=0) for n, a in stacked.items()})


def sizes(array: Any) -> Any:
    """Return the size that a step is measured in, per element: its own, or the usual one of its array if that is larger."""
    usual = float(np.sqrt(np.mean(array**2))) if array.size else 0.0
    return np.maximum(np.abs(array), usual if usual > 0 else 1.0)


def _moved(problem: Problem, rng: np.random.Generator, amount: float) -> HostArrays:
    def away(array: Any) -> Any:
        return rng.choice([-1.0, 1.0], array.shape) * rng.uniform(0.5, 1.0, array.shape) * sizes(array)

    return {name: array + amount * away(array) for name, array in problem.at.items()}
