"""Kinks that a kernel states: elements where it has no derivative, or so near that an oracle would step over it.

Autodiff must not be asked there: it has conventions of its own. The oracle therefore sees such an element moved by a few
roundings to the side that the kernel's convention states (or, where that is the mean of both sides, both in turn); its
value does not change by more than that. Differences are not taken across a kink at all. Kinks that nobody states are the
matter of `aside`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.kernels._kernel import Side

ROUNDINGS = 64.0  # an element is at the kink when it is this many roundings of the largest element away from it
NOISY = 0.25  # a distance is carried at most 16 times as far as runs with random rounding show
NEAR = 1e-5  # "near": a difference with the usual step would cross


@dataclass(frozen=True)
class Kink:
    """The signed distances of one kernel call's elements to its kink, its convention, and the argument they are of.

    noise: how far the rounding of float64 carries each distance: what comes before the call may have cancelled.
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

    def within(self, relative: float) -> Any:
        """Return which elements are at the kink, up to a part of the largest number."""
        return np.abs(self.distance) <= relative * self.scale

    def reach(self, eps: float) -> Any:
        """Return how far rounding in a precision may carry each element."""
        return ROUNDINGS * eps * np.maximum(self.scale, NOISY * self.noise / np.finfo(np.float64).eps)

    def undecided(self, eps: float) -> Any:
        """Return for which elements rounding alone decides on which side of the kink they lie."""
        return (np.abs(self.distance) <= self.reach(eps)) & (self.side != "none")


@dataclass(frozen=True)
class Counts:
    """Kinks at and around a point.

    exact: elements exactly on a kink that a kernel states; near: others nearer to it than a usual step; kernels: whose
    kinks these are. left_out: comparisons that a kink, stated or not, made impossible at the point; aside: those of them
    made a little aside instead; elements: their names.
    """

    exact: int = 0
    near: int = 0
    kernels: tuple[str, ...] = ()
    left_out: int = 0
    aside: int = 0
    elements: tuple[str, ...] = ()

    def __str__(self) -> str:
        whose = f" of {', '.join(self.kernels)}" if self.kernels else ""
        told = f"{self.exact} elements exactly on a kink{whose} (judged by the kernel's own convention), {self.near} near one"
        if not self.left_out:
            return told
        shown, more = "; ".join(self.elements[:3]), self.left_out - len(self.elements[:3])
        shown += f"; and {more} more" if more else ""
        return (
            f"{told}; found near the point and left out: {self.left_out} comparisons ({shown}), "
            f"{self.aside} of them made a thousandth aside instead, where every right backward agrees"
        )


def count(kinks: list[Kink]) -> Counts:
    """Count the elements on a kink and near one; where a kernel is only bent, nothing is ambiguous."""
    sharp = [k for k in kinks if k.side != "none" and bool(k.within(NEAR).any())]
    exact = sum(int(np.sum(k.distance == 0)) for k in sharp)
    near = sum(int(np.sum(k.within(NEAR))) for k in sharp) - exact
    return Counts(exact, near, tuple(dict.fromkeys(k.kernel for k in sharp)))


def ambiguous(kinks: list[Kink], eps: float) -> bool:
    """Tell whether rounding alone decides on which side of a kink some element lies."""
    return any(bool(k.undecided(eps).any()) for k in kinks)


def shifts(kinks: list[Kink], eps: float, exact: float, *, all_to: float | None = None) -> list[Any]:
    """Return, per call, what to add to the elements at a kink so that they lie clearly on the side the kernel takes.

    Elements exactly on it go to that side, or to the side of `exact` where the convention is the middle; the others stay
    on their own side. With `all_to` every one goes to that side.
    """
    found: list[Any] = []
    for kink in kinks:
        at, away = kink.undecided(eps), np.maximum(2.0 * kink.reach(eps), 1e-300)
        taken = {"middle": exact, "right": 1.0}.get(kink.side, -1.0)
        side = np.where(kink.distance == 0, taken, np.sign(kink.distance))
        side = side if all_to is None else np.full_like(side, all_to)
        found.append(np.where(at, side * away, 0.0))
    return found
