"""Check at a nearby random point where a kink makes the given point undecidable, whether a kernel states the kink or not.

At a kink the gradient is a convention, and no oracle knows the convention of a custom layer. So the check is made at two
nearby points, in opposite directions from the given one. A random direction lies along a kink with probability 0, so an
element on a kink lies on one side at one point and on the other side at the other. At both points a correct backward
agrees with every oracle, and a wrong one does not. At the kink itself, the hand-written value must still lie between the
slopes of its two sides, which `one_sided_slopes` measures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.check.problems.problem import Problem, step_sizes
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops
from bpengine.streams import stream

NEARBY = 1e-3  # of an element's size: beyond the steps of differences that are exact enough
TOUCHING = 1e-9  # of an element's size: a smooth gradient hardly changes over it, one at a kink jumps
TRIES = 4
WIDER = 2.0  # times the largest measured slope, or the distance between two
JUMP = 1e-8  # of the largest slope: over a step of TOUCHING no smooth gradient changes so much
POINTS = 32  # points around the point


def nearby_points(problem: Problem, seed: int) -> list[Problem]:
    """Return the problem at two points a thousandth away, opposite each other; one or none where it is not finite there."""
    most: list[Problem] = []
    for draw in range(TRIES):
        directions = _directions(problem, stream("check nearby", seed, draw))
        pair = [replace(problem, at=_moved(problem, directions, side * NEARBY)) for side in (1.0, -1.0)]
        finite = [moved for moved in pair if np.isfinite(moved.value(Ops(np), moved.at))]
        # another direction is drawn where the function is not finite on one side: both sides of a kink are needed
        most = max(most, finite, key=len)
        if len(most) == len(pair):
            break
    return most


@dataclass(frozen=True)
class NearbySlopes:
    """The least and the largest hand-written gradient at pairs of opposite points very close to the given one."""

    least: HostArrays
    largest: HostArrays

    def is_convention(self, name: str, hand: HostArray, reference: HostArray, limit: object) -> Array:
        """Return the elements whose gradient is discontinuous here and whose two values both lie between the slopes.

        Where autodiff has no gradient, only the hand-written value counts.
        """
        least, most = self.bounds(name)
        least, most = least - limit, most + limit
        other = np.where(np.isfinite(reference), reference, hand)
        return (least <= np.minimum(hand, other)) & (np.maximum(hand, other) <= most)

    def bounds(self, name: str) -> tuple[Any, Any]:
        """Return bounds for the slopes that several kinks can cause together; the sampled points do not show all of them.

        No single point lies on the same side of two kinks with nearly opposite normals, yet a convention may take that side
        of both. Where there is one kink, `one_sided_slopes` allows no more than its own two slopes.
        """
        low, high = self.least[name], self.largest[name]
        size = np.maximum(np.maximum(np.abs(low), np.abs(high)), high - low)
        size = np.where(high - low > JUMP * np.max(size, initial=0.0), size, 0.0)
        return low - WIDER * size, high + WIDER * size


def nearby_slopes(problem: Problem, seed: int) -> NearbySlopes:
    """Return the slopes around the point by the hand-written backward, which must be right at the nearby points."""
    drawn = (_directions(problem, stream("check slopes", seed, k)) for k in range(POINTS // 2))
    # Opposite points lie on both sides of every kink through the point; many directions cover most combinations of sides.
    points = (_moved(problem, directions, side * TOUCHING) for directions in drawn for side in (1.0, -1.0))
    per_point = [problem.gradients(at=point)[1] for point in points]
    stacked = {name: np.stack([gradients[name] for gradients in per_point]) for name in problem.at}
    return NearbySlopes({n: a.min(axis=0) for n, a in stacked.items()}, {n: a.max(axis=0) for n, a in stacked.items()})


def _directions(problem: Problem, rng: np.random.Generator) -> HostArrays:
    """Draw a direction in which every element moves by half to all of its size, up or down, so that none stays on a kink."""

    def drawn(array: HostArray) -> Array:
        return rng.choice([-1.0, 1.0], array.shape) * rng.uniform(0.5, 1.0, array.shape) * step_sizes(array)

    return {name: drawn(array) for name, array in problem.at.items()}


def _moved(problem: Problem, directions: HostArrays, amount: float) -> HostArrays:
    return {name: array + amount * directions[name] for name, array in problem.at.items()}
