"""Verdict: one array of a gradient against one oracle, and the element that is worst."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

GIVEN, PERTURBED = "given", "perturbed"


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
    comparisons that a kink made impossible at the point; aside: those of them made a little aside instead, which count as
    compared; elements: names of those left out, up to a hundred; ill: comparisons that rounding or curvature made worthless;
    point: which of the two it was made at, GIVEN or PERTURBED.
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
    aside: int = 0
    elements: tuple[str, ...] = ()
    point: str = GIVEN


def off_the_kink(verdict: Verdict) -> Verdict:
    """Return a verdict made aside, with that said of its worst element."""
    worst = verdict.worst and replace(verdict.worst, element=f"{verdict.worst.element} (a little aside, off a kink)")
    return replace(verdict, worst=worst)
