"""What is right at a kink that nobody states: a value between the slopes on its two sides, and no more.

The slopes are those of the function itself, by differences to one side each, taken of every output on its own: an element
that several outputs depend on, each with its kink, is given the sum of their intervals. Where several kinks meet in one
output, slopes along a line do not tell which sides it may take, and the slopes of the backward around the point must do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.check.kinks.nearby import Slopes, sizes, slopes
from bpengine.check.oracles.sampling import Probes
from bpengine.check.problems.problem import Problem
from bpengine.check.reports.results import Verdict, Worst
from bpengine.check.tolerance import agreement
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops
from bpengine.streams import stream

ORACLE = "one-sided slopes"
SCOPE = "elements whose value jumps at a kink that nobody states"
OUTSIDE = "at a kink, and not among the slopes beside it"
STEP = 1e-6  # of an element's size
EXACT = 1e-6  # of what is relative to the largest gradient: beyond the error of a difference with that step
MOST = 512  # elements of an array: those farthest from the slopes around them are among these
LINES = 16  # random lines that tell whether several kinks meet in an output
ALIKE = 1e-3
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Interval:
    """Between the slopes on both sides of an element, and the error they may have."""

    low: float
    high: float
    error: float

    def beyond(self, hand: float) -> float:
        """Return how far outside a value lies, infinitely far where it is not finite."""
        return max(self.low - hand, hand - self.high, 0.0) if np.isfinite(hand) else np.inf

    def with_bounds(self, low: float, high: float) -> Interval:
        """Return the interval that reaches to these bounds as well."""
        return Interval(min(self.low, low), max(self.high, high), self.error)

    def nearest(self, hand: float) -> float:
        """Return the value inside that is nearest."""
        return float(np.clip(np.nan_to_num(hand), self.low, self.high))


def verdicts(probes: Probes) -> list[Verdict]:
    """Judge the elements whose hand-written value is not that on both sides; none where no unstated kink is at the point."""
    problem = probes.problem
    if problem.terms is None or problem.foreign is None or not probes.at_a_kink:
        return []
    around, lines = slopes(problem, probes.seed), Lines(problem, probes.seed)
    found = (_verdict(probes, name, around, lines) for name in problem.at)
    return [verdict for verdict in found if verdict]


def _verdict(probes: Probes, name: str, around: Slopes, lines: Lines) -> Verdict | None:
    """Judge the elements of an array that jump; the worst of them is told. None where none does."""
    hand, scale, bounds = probes.hand[name], probes.sizes[name], around.around(name)
    told: list[tuple[float, float, tuple[int, ...], Interval]] = []  # how far outside, how much of that is allowed
    for index in _jumping(probes, name, around):
        found = lines.interval(name, index)
        if found is None:
            continue
        value, allowed = float(hand[index]), found.error + EXACT * scale
        if found.beyond(value) > allowed and lines.meeting(name, index):
            found = found.with_bounds(*(float(bound[index]) for bound in bounds))
        told.append((found.beyond(value), allowed, index, found))
    if not told:
        return None
    error, allowed, index, found = max(told, key=lambda one: one[0] / one[1])
    value, passed = float(hand[index]), error <= allowed
    cause = "" if passed else f"{OUTSIDE}, {found.low:.4g} to {found.high:.4g}"
    worst = Worst(agreement.named_element(probes.problem, name, index), value, found.nearest(value), cause)
    relative = error / scale, error / (EPS * scale), allowed / scale
    return Verdict(name, ORACLE, *relative, len(told), passed, worst)


def _jumping(probes: Probes, name: str, around: Slopes) -> list[tuple[int, ...]]:
    """Return the elements whose value is another one a touch aside, those farthest from there first."""
    hand, low, high = probes.hand[name], around.least[name], around.largest[name]
    limit = agreement.JUMP * probes.sizes[name] + probes.rounding[name]
    jumps = ~((hand - low <= limit) & (high - hand <= limit))
    beyond = np.nan_to_num(np.maximum(low - hand, hand - high), nan=np.inf)
    order = np.argsort(np.where(jumps, -beyond, np.inf), axis=None, kind="stable")[: int(min(MOST, jumps.sum()))]
    return [tuple(int(i) for i in np.unravel_index(int(k), hand.shape)) for k in order]


class Lines:
    """The outputs of a problem along lines through its point."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._start = self._outputs(problem.at)
        rng = stream("check sides", seed)
        self._random = [
            {n: sizes(a) * rng.uniform(-1.0, 1.0, a.shape) for n, a in problem.at.items()} for _ in range(LINES)
        ]

    def interval(self, name: str, index: tuple[int, ...]) -> Interval | None:
        """Return the sum over the outputs of the intervals between their slopes; None where no side has one."""
        direction, size = self._along(name, index)
        ahead, behind = self._slope(direction, 1.0), self._slope(direction, -1.0)
        (right, error), (left, other) = ahead, (-behind[0], behind[1])
        right, left = np.where(np.isfinite(right), right, left), np.where(np.isfinite(left), left, right)
        if not np.all(np.isfinite(right)):
            return None
        error = float(np.sum(np.nan_to_num(error)) + np.sum(np.nan_to_num(other)))
        low, high = float(np.sum(np.minimum(left, right))), float(np.sum(np.maximum(left, right)))
        return Interval(low / size, high / size, error / size)

    def meeting(self, name: str, index: tuple[int, ...]) -> bool:
        """Tell whether several kinks meet in an output: with one, its bends along two lines tell that along their sum."""
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
        size, step = float(sizes(array)[index]), np.zeros(array.shape)
        step[index] = size
        return {name: step}, size

    def _slope(self, direction: HostArrays, side: float) -> tuple[Any, Any]:
        """Return each output's slope to one side, extrapolated from two steps, and the error it may have."""
        wide, narrow = ((self._moved(direction, side * h) - self._start) / h for h in (2.0 * STEP, STEP))
        changed = np.abs(narrow) + np.abs(wide) > 0
        noise = 8.0 * EPS * np.where(changed, np.abs(self._start), 0.0) / STEP
        return 2.0 * narrow - wide, np.abs(wide - narrow) + noise

    def _bend(self, direction: HostArrays) -> Any:
        """Return the sum of each output's slopes to both sides: 0 where it has no kink."""
        return sum(self._slope(direction, side)[0] for side in (1.0, -1.0))

    def _moved(self, direction: HostArrays, h: float) -> Any:
        at = self._problem.at
        return self._outputs({**at, **{n: at[n] + h * v for n, v in direction.items()}})

    def _outputs(self, at: HostArrays) -> Any:
        assert self._problem.terms is not None
        with np.errstate(all="ignore"):
            return np.asarray(self._problem.terms(Ops(np), at), dtype=np.float64).ravel()
