"""A little aside: what to do at kinks that stand in an oracle's way, whether a kernel states them or nobody does.

At a kink the gradient is a matter of convention, and no oracle knows that of a layer of one's own. So what a kink makes
impossible at the point is done a little aside, at two points opposite each other: a direction drawn at random lies along a
kink with probability 0, and what lies on a kink is on one side of it at one of the points and on the other at the other. There
every right backward agrees with every oracle, and a wrong one does not. What remains at the kink itself, that the hand-written
value must be among the slopes on its sides, is the matter of `sides`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine.check.problems.problem import Problem
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops
from bpengine.streams import stream

APART = 1e-3  # of an element's size: beyond the steps of differences that are exact enough
TOUCH = 1e-9  # of an element's size: no smooth gradient moves visibly, one at a kink jumps
TRIES = 4
WIDER = 2.0  # times the largest slope seen, or the distance between them
JUMP = 1e-8  # of the largest slope: no smooth gradient moves so far over a touch
SIDES = 32  # points around the point


def aside(problem: Problem, seed: int) -> list[Problem]:
    """Return the problem at two points a thousandth aside, opposite each other; one or none where it is not finite there."""
    found: list[Problem] = []
    for draw in range(TRIES):
        directions = _directions(problem, stream("check aside", seed, draw))
        moved = [replace(problem, at=_moved(problem, directions, side * APART)) for side in (1.0, -1.0)]
        finite = [there for there in moved if np.isfinite(there.value(Ops(np), there.at))]
        found = max(found, finite, key=len)
        if len(found) == len(moved):
            break
    return found


@dataclass(frozen=True)
class Slopes:
    """The least and the largest hand-written gradient at points that touch the point, in pairs opposite each other."""

    least: HostArrays
    largest: HostArrays

    def convention(self, name: str, hand: Any, reference: Any, limit: Any) -> Any:
        """Return which elements jump there so far that the hand-written value and the reference are both among the slopes.

        Where autodiff has no gradient, the hand-written value alone tells.
        """
        least, most = self.around(name)
        least, most = least - limit, most + limit
        known = np.where(np.isfinite(reference), reference, hand)
        return (least <= np.minimum(hand, known)) & (np.maximum(hand, known) <= most)

    def around(self, name: str) -> tuple[Any, Any]:
        """Return the bounds of what many kinks can make together: the points seen do not show all of their slopes.

        Kinks that nearly face each other are never on the same side at one point, yet a convention may take them so. Where
        there is one kink, `sides` allows no more than its own two slopes.
        """
        low, high = self.least[name], self.largest[name]
        size = np.maximum(np.maximum(np.abs(low), np.abs(high)), high - low)
        size = np.where(high - low > JUMP * np.max(size, initial=0.0), size, 0.0)
        return low - WIDER * size, high + WIDER * size


def slopes(problem: Problem, seed: int) -> Slopes:
    """Return the slopes around the point. They are those of the hand-written backward: it must have been found right aside."""
    drawn = (_directions(problem, stream("check slopes", seed, k)) for k in range(SIDES // 2))
    points = (_moved(problem, directions, side * TOUCH) for directions in drawn for side in (1.0, -1.0))
    found = [problem.gradients(at=point)[1] for point in points]
    stacked = {name: np.stack([gradients[name] for gradients in found]) for name in problem.at}
    return Slopes({n: a.min(axis=0) for n, a in stacked.items()}, {n: a.max(axis=0) for n, a in stacked.items()})


def sizes(array: Any) -> Any:
    """Return the size that a step is measured in, per element: its own, or the usual one of its array if that is larger."""
    usual = float(np.sqrt(np.mean(array**2))) if array.size else 0.0
    return np.maximum(np.abs(array), usual if usual > 0 else 1.0)


def _directions(problem: Problem, rng: np.random.Generator) -> HostArrays:
    def away(array: Any) -> Any:
        return rng.choice([-1.0, 1.0], array.shape) * rng.uniform(0.5, 1.0, array.shape) * sizes(array)

    return {name: away(array) for name, array in problem.at.items()}


def _moved(problem: Problem, directions: HostArrays, amount: float) -> HostArrays:
    return {name: array + amount * directions[name] for name, array in problem.at.items()}
