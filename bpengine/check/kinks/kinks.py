"""Kinks that a kernel states: elements at which it has no derivative, or so near that an oracle's step would cross one.

Autodiff cannot be compared there, since it has conventions of its own. So such an element is moved by a few roundings to
the side that the kernel's convention states (or, where the convention is the mean of both sides, to each in turn); the
function's value changes by no more than that. Finite differences are never taken across a kink. Kinks that no kernel states
are handled by `nearby`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.check.reports.results import KinkCounts
from bpengine.kernels._kernel import Array, Side

ROUNDINGS = 64.0  # an element is at the kink when it is this many roundings of the largest element away from it
NOISY = 0.25  # rounding moves a distance at most 16 times as far as runs with random rounding show
NEAR = 1e-5  # "near": a difference with the usual step would cross


@dataclass(frozen=True)
class Kink:
    """The signed distances of one kernel call's elements to its kink, its convention, and the argument they belong to.

    noise: how far rounding in float64 moves each distance; it is large where numbers cancelled before the call.
    """

    kernel: str
    side: Side
    distance: Any
    x: Any
    noise: Any = 0.0

    @property
    def scale(self) -> float:
        """The largest number that the distances are made from."""
        return float(max(np.max(np.abs(self.distance), initial=0.0), np.max(np.abs(self.x), initial=0.0)))

    def within(self, relative: float) -> Array:
        """Return which elements are at the kink, up to a part of the largest number."""
        return np.abs(self.distance) <= relative * self.scale

    def reach(self, eps: float) -> Array:
        """Return how far rounding in a precision may move each element."""
        # Where numbers cancelled before the call, the error of the distance is that of the larger numbers, which
        # `noise` shows.
        return ROUNDINGS * eps * np.maximum(self.scale, NOISY * self.noise / np.finfo(np.float64).eps)

    def undecided(self, eps: float) -> Array:
        """Return for which elements rounding alone decides on which side of the kink they lie."""
        return (np.abs(self.distance) <= self.reach(eps)) & (self.side != "none")


def count_kinks(kinks: list[Kink]) -> KinkCounts:
    """Count the elements on a kink and near one; where only the second derivative jumps, nothing is ambiguous."""
    # A function of which only the second derivative jumps (such as huber) has one gradient everywhere.
    sharp = [k for k in kinks if k.side != "none" and bool(k.within(NEAR).any())]
    exact = sum(int(np.sum(k.distance == 0)) for k in sharp)
    near = sum(int(np.sum(k.within(NEAR))) for k in sharp) - exact
    return KinkCounts(exact=exact, near=near, kernels=tuple(dict.fromkeys(k.kernel for k in sharp)))


def any_undecided(kinks: list[Kink], eps: float) -> bool:
    """Tell whether rounding alone decides on which side of a kink some element lies."""
    return any(bool(k.undecided(eps).any()) for k in kinks)


def off_kink_shifts(kinks: list[Kink], eps: float, exact: float, *, all_to: float | None = None) -> list[Any]:
    """Return, per call, what to add to the elements at a kink so that they lie clearly on the side the kernel takes.

    Elements exactly on the kink go to that side, or to the side of `exact` where the convention is the middle; others stay on
    their own side. With `all_to`, every element goes to that side.
    """
    shifts: list[Any] = []
    for kink in kinks:
        # Twice the reach: after the shift, rounding alone can no longer bring the element back to the kink.
        at, distance = kink.undecided(eps), np.maximum(2.0 * kink.reach(eps), 1e-300)
        convention = {"middle": exact, "right": 1.0}.get(kink.side, -1.0)
        side = np.where(kink.distance == 0, convention, np.sign(kink.distance))
        side = side if all_to is None else np.full_like(side, all_to)
        shifts.append(np.where(at, side * distance, 0.0))
    return shifts
