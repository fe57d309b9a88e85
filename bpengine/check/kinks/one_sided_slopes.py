"""One-sided slopes of each output of a function at a kink, by one-sided differences.

The interval of an element that several outputs depend on is the sum of the outputs' intervals. Where several kinks meet in one
output, slopes along a line do not say which sides a convention may take; `OneSidedSlopes.kinks_meet` detects that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.check.problems.problem import Problem, step_sizes
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops
from bpengine.streams import stream
from bpengine.system.quiet import Quiet

STEP = 1e-6  # of an element's size
LINES = 16  # random lines that show whether several kinks meet in an output
ALIKE = 1e-3
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class SlopeInterval:
    """The interval between the slopes on both sides of an element, and a bound on their error."""

    low: float
    high: float
    error: float

    def beyond(self, hand: float) -> float:
        """Return how far outside the interval a value lies; infinity for a value that is not finite."""
        return max(self.low - hand, hand - self.high, 0.0) if np.isfinite(hand) else np.inf

    def with_bounds(self, low: float, high: float) -> SlopeInterval:
        """Return the interval, widened to include these bounds."""
        return SlopeInterval(min(self.low, low), max(self.high, high), self.error)

    def nearest(self, hand: float) -> float:
        """Return the nearest value inside the interval."""
        return float(np.clip(np.nan_to_num(hand), self.low, self.high))


class OneSidedSlopes:
    """One-sided slopes of a problem's outputs along lines through its point."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._start = self._outputs(problem.at)
        rng = stream("check sides", seed)
        self._random = [
            {n: step_sizes(a) * rng.uniform(-1.0, 1.0, a.shape) for n, a in problem.at.items()} for _ in range(LINES)
        ]

    def interval(self, name: str, index: tuple[int, ...]) -> SlopeInterval | None:
        """Return the sum over the outputs of the intervals between their slopes; None where neither side has a slope."""
        direction, size = self._along(name, index)
        ahead, behind = self._slope(direction, 1.0), self._slope(direction, -1.0)
        (right, error), (left, other) = ahead, (-behind[0], behind[1])
        # where one side is not finite, as of sqrt at 0, the other side's slope alone counts
        right, left = np.where(np.isfinite(right), right, left), np.where(np.isfinite(left), left, right)
        if not np.all(np.isfinite(right)):
            return None
        error = float(np.sum(np.nan_to_num(error)) + np.sum(np.nan_to_num(other)))
        low, high = float(np.sum(np.minimum(left, right))), float(np.sum(np.maximum(left, right)))
        return SlopeInterval(low / size, high / size, error / size)

    def kinks_meet(self, name: str, index: tuple[int, ...]) -> bool:
        """Tell whether several kinks meet in an output.

        The bend of a single kink along d is |<n, d>| for some n, so its bends along two lines determine that along their
        sum, up to the sign of one of them. Where that fails for some line, there is more than one kink.
        """
        direction, _ = self._along(name, index)
        one = self._bend(direction)
        for drawn in self._random:
            other = {**drawn, name: np.where(direction[name] == 0, drawn[name], 0.0)}  # across it
            two, both = self._bend(other), self._bend({n: other[n] + direction.get(n, 0.0) for n in other})
            size = np.abs(one) + np.abs(two)
            with_sign, against = np.abs(both - (one + two)), np.abs(np.abs(both) - np.abs(one - two))
            bent = np.abs(one) > ALIKE * float(np.max(size, initial=0.0))
            if bool(np.any(bent & (np.minimum(with_sign, against) > ALIKE * size))):
                return True
        return False

    def _along(self, name: str, index: tuple[int, ...]) -> tuple[HostArrays, float]:
        array = self._problem.at[name]
        size, step = float(step_sizes(array)[index]), np.zeros(array.shape)
        step[index] = size
        return {name: step}, size

    def _slope(self, direction: HostArrays, side: float) -> tuple[Any, Any]:
        """Return each output's slope to one side, extrapolated from two steps, and the error it may have."""
        wide, narrow = ((self._moved(direction, side * h) - self._start) / h for h in (2.0 * STEP, STEP))
        changed = np.abs(narrow) + np.abs(wide) > 0
        noise = 8.0 * EPS * np.where(changed, np.abs(self._start), 0.0) / STEP
        # the error of a one-sided difference falls with h: 2 f'(h) - f'(2h) removes that term (Richardson)
        return 2.0 * narrow - wide, np.abs(wide - narrow) + noise

    def _bend(self, direction: HostArrays) -> Array:
        """Return the sum of each output's slopes to both sides: 0 where it has no kink."""
        return sum(self._slope(direction, side)[0] for side in (1.0, -1.0))

    def _moved(self, direction: HostArrays, h: float) -> Array:
        at = self._problem.at
        return self._outputs({**at, **{n: at[n] + h * v for n, v in direction.items()}})

    def _outputs(self, at: HostArrays) -> Array:
        assert self._problem.terms is not None
        with Quiet():
            return np.asarray(self._problem.terms(Ops(np), at), dtype=np.float64).ravel()
