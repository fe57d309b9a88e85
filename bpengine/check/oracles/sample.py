"""Probe: a single number of a gradient, an element or an inner product, beside an estimate that knows its own error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bpengine.check.oracles.finite_differences import ENOUGH, Estimate


@dataclass(frozen=True)
class Probe:
    """One number: its name, as written by hand, as estimated, what counts as large, and the size of a step.

    left_out: a kink made it impossible at the point; it was then made aside, unless the estimate is left out as well.
    index: of an element.
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
        """What its error is relative to."""
        return max(self.large, 0.0 if self.estimate.left_out else abs(self.estimate.value))

    @property
    def limit(self) -> float:
        """The largest difference that the estimate allows, relative to that."""
        exact = not self.estimate.rungs
        error = self.estimate.error
        return (error if exact else 8.0 * error + 10.0 * ENOUGH * self.scale) / self.scale

    @property
    def error(self) -> float:
        """The difference, relative to that; infinite where the gradient is not finite."""
        found = abs(self.hand - self.estimate.value) / self.scale
        return found if math.isfinite(found) else math.inf
