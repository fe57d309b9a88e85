"""The second oracle: central finite differences in float64, each with an estimate of its own error.

A direction is tried with a ladder of steps h, each a rung. The derivative comes from the two neighbouring rungs whose
extrapolation has the smallest estimated error: truncation (their disagreement) plus rounding (the noise of the function over
the step). Rungs that cross a kink are left out. The Taylor remainder f(p + h v) - f(p) - h <g, v> must fall with the square
of the step: that distinguishes a wrong gradient (order 1) from a badly conditioned difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bpengine.check.kinks.kinks import Kink
from bpengine.check.kinks.ops import KinkRecorder
from bpengine.check.problems.problem import Problem, step_sizes
from bpengine.check.tolerance.stochastic_rounding import StochasticRoundingOps
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops
from bpengine.streams import stream

EPS = float(np.finfo(np.float64).eps)
FIRST, SHRINK, RUNGS = 1e-2, 4.0, 10  # steps 1e-2, 2.5e-3, ... 4e-8 of a parameter's size
MOST = 6  # rungs that are kept
# f(h) - 2 f(0) + f(-h) falls by SHRINK**2 from rung to rung where f is smooth, and by SHRINK at a kink: this lies between
BENT = SHRINK**1.5
ROUNDED = 1e-3  # part of a random rounding's effect that counts as noise, which piecewise constant functions hide
RUNS = 3  # with random rounding
ENOUGH = 1e-8  # relative error of a difference at which no smaller step is tried


class Rung(NamedTuple):
    """One step h and the function on both sides."""

    h: float
    ahead: float
    behind: float


@dataclass(frozen=True)
class Estimate:
    """A directional derivative, its estimated error, and the rungs it was computed from; NaN where all cross a kink."""

    value: float
    error: float
    rungs: tuple[Rung, ...] = ()

    @property
    def left_out(self) -> bool:
        """True when no difference could be computed, because every step crosses a kink."""
        return math.isnan(self.value)


NO_ESTIMATE = Estimate(math.nan, math.inf)


class FiniteDifferences:
    """Derivatives of a problem's function along lines through its point.

    A kink that no kernel states is detected as well: its two sides have different slopes, and the bend
    f(h) - 2 f(0) + f(-h) falls with h and not with its square.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        log: list[Kink] = []
        self.start = float(problem.value(KinkRecorder(log), problem.at))
        self.kinks = list(log)
        self._sides = [np.sign(k.distance) for k in log]
        self._log = log
        self._ops = KinkRecorder(log) if log else Ops(np)
        self.noise = self._noise()

    def along(self, direction: HostArrays, scale: float = 0.0, *, all_rungs: bool = False) -> Estimate:
        """Return the derivative along a direction; `scale` is the size of derivative that counts as large."""
        rungs: list[Rung] = []
        best = NO_ESTIMATE
        # from the largest step down: large steps have truncation errors, small ones rounding errors
        for k in range(RUNGS):
            rung = self._rung(direction, FIRST / SHRINK**k)
            # a kink between the point and p + h v spoils this rung and all larger ones: start again below it
            rungs = [*rungs, rung] if rung else []
            # A bend between these two rungs is a kink that no kernel states: only the smaller rung lies on one side
            # of it.
            if self._bent(rungs[-2:]):
                rungs = rungs[-1:]
            if len(rungs) < 2:
                best = NO_ESTIMATE
                continue
            # The estimated error first falls with truncation and then rises with rounding; the smallest one is kept.
            best = min(best, self._extrapolate(*rungs[-2:]), key=lambda e: e.error)
            if len(rungs) == MOST or (not all_rungs and best.error <= ENOUGH * max(abs(best.value), scale)):
                break
        return replace(best, rungs=tuple(rungs))

    def remainder_order(self, estimate: Estimate, slope: float) -> float | None:
        """Return the order with which the Taylor remainder falls, None where the remainder is only rounding."""
        pairs = [(r.h, abs(r.ahead - self.start - r.h * slope)) for r in estimate.rungs]
        # Below this the remainder is noise, and a quotient of noise has no order.
        kept = [(h, rest) for h, rest in pairs if rest > 64.0 * self.noise]
        if len(kept) < 2:
            return None
        (h, rest), (smaller, less) = kept[-2:]
        return math.log(rest / less) / math.log(h / smaller)

    def _rung(self, direction: HostArrays, h: float) -> Rung | None:
        """Return the function on both sides, or None where a kink that a kernel states lies between."""
        ahead, behind = (self._at(direction, sign * h) for sign in (1.0, -1.0))
        return None if ahead is None or behind is None else Rung(h, ahead, behind)

    def _bent(self, rungs: list[Rung]) -> bool:
        """Tell whether the function has different slopes on its two sides."""
        if len(rungs) < 2:
            return False
        coarse, fine = (abs(r.ahead - 2.0 * self.start + r.behind) for r in rungs)
        return fine > 16.0 * self.noise and coarse < BENT * fine

    def _extrapolate(self, coarse: Rung, fine: Rung) -> Estimate:
        """Return Richardson's extrapolation of two central differences, free of their error's leading term, in h squared."""
        wide, narrow = ((r.ahead - r.behind) / (2.0 * r.h) for r in (coarse, fine))
        # Both errors are c h^2 + O(h^4) with the same c, so this combination cancels c.
        value = (SHRINK**2 * narrow - wide) / (SHRINK**2 - 1.0)
        return Estimate(value, abs(narrow - wide) / 3.0 + 2.0 * self.noise / fine.h)

    def _at(self, direction: HostArrays, h: float) -> float | None:
        """Return f(p + h v), or None when that point is on another side of some kink."""
        at = {**self.problem.at, **{n: self.problem.at[n] + h * v for n, v in direction.items()}}
        self._log.clear()
        value = float(self.problem.value(self._ops, at))
        # A changed sign of a distance means that the step went past a kink: the difference would mix two slopes.
        crossed = any(np.any(np.sign(k.distance) != side) for k, side in zip(self._log, self._sides, strict=True))
        return None if crossed else value

    def _rounded(self) -> float:
        """Return how far random rounding moves the function's value, also where it is piecewise constant."""
        runs = [StochasticRoundingOps(Ops(np), EPS, draw) for draw in range(RUNS)]
        values = [self.problem.value(ops, ops.rounded_arrays(self.problem.at)) for ops in runs]
        return float(np.max(np.nan_to_num(np.abs(np.subtract(values, self.start)), nan=0.0, posinf=0.0)))

    def _noise(self) -> float:
        """Return the noise of the function, from high differences over tiny steps, beside the kink if the point is on one.

        The k-th difference of a smooth function over steps of 1e-11 is close to 0, while that of independent noise of standard
        deviation s has the mean square s^2 (2k)! / (k!)^2. So the mean square, divided by that factor, gives the noise.

        Source: More, Wild, "Estimating computational noise", SIAM Journal on Scientific Computing 33, 2011.
        """
        rng = stream("check noise", 0)
        direction = {n: step_sizes(a) * rng.choice([-1.0, 1.0], a.shape) for n, a in self.problem.at.items()}
        # Seven points 1e-9 away from the given one, where an element that lies on a kink has already left it.
        values = [self._at(direction, 1e-11 * k) for k in range(100, 107)]
        table = np.array([v if v is not None else self.start for v in values])
        levels = [EPS * abs(self.start), np.finfo(float).tiny, ROUNDED * self._rounded()]
        if any(v is None for v in values):  # a kink lies between them and the point: differences would cross it
            return 16.0 * max(levels)
        for k in range(1, 7):
            table = np.diff(table)
            factor = math.factorial(k) ** 2 / math.factorial(2 * k)
            # Low differences still hold the function's own slope, so only the third and higher ones count as noise.
            levels += [math.sqrt(factor * float(np.mean(table**2)))] * (k >= 3)
        return 4.0 * max(levels)
