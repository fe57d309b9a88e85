"""The second oracle: central finite differences in float64, each with an estimate of its own error.

A direction is tried with a ladder of steps. The derivative comes from the two neighbouring rungs whose extrapolation
promises the smallest error, truncation (their disagreement) and rounding (the noise of the function over the step)
together. Rungs that cross a kink are left out. The Taylor remainder f(p + h v) - f(p) - h <g, v> must fall with the square
of the step: it tells a wrong gradient (order 1) from a difference that is badly conditioned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bpengine.check import kinks
from bpengine.check.kinks import Kink
from bpengine.check.problem import Problem
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops

EPS = float(np.finfo(np.float64).eps)
FIRST, SHRINK, RUNGS = 1e-2, 4.0, 10  # steps 1e-2, 2.5e-3, ... 4e-8 of a parameter's size
ENOUGH = 1e-8  # relative error of a difference at which no smaller step is tried


class Rung(NamedTuple):
    """One step h and the function on both sides."""

    h: float
    ahead: float
    behind: float


@dataclass(frozen=True)
class Estimate:
    """A directional derivative, the error it may have, and the rungs it was taken from; NaN where all cross a kink."""

    value: float
    error: float
    rungs: tuple[Rung, ...] = ()

    @property
    def left_out(self) -> bool:
        """True when no difference could be taken: a kink is in the way."""
        return math.isnan(self.value)


class Differences:
    """The function of a problem along lines through its point."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        log: list[Kink] = []
        self.start = float(problem.value(kinks.recording(log), problem.at))
        self.kinks = list(log)
        self._sides = [np.sign(k.distance) for k in log]
        self._log = log
        self._ops = kinks.recording(log) if log else Ops(np)
        self.noise = self._noise()

    def along(self, direction: HostArrays, scale: float = 0.0, *, all_rungs: bool = False) -> Estimate:
        """Return the derivative along a direction; `scale` is the size of derivative that counts as large."""
        rungs: list[Rung] = []
        best = Estimate(math.nan, math.inf)
        for k in range(RUNGS):
            h = FIRST / SHRINK**k
            sides = [self._at(direction, sign * h) for sign in (1.0, -1.0)]
            if any(value is None for value in sides):
                rungs, best = [], Estimate(math.nan, math.inf)
                continue
            rungs.append(Rung(h, *sides))  # type: ignore[arg-type]
            best = min(best, self._extrapolate(rungs), key=lambda e: e.error)
            if not all_rungs and best.error <= ENOUGH * max(abs(best.value), scale):
                break
            if len(rungs) == 6:
                break
        return Estimate(best.value, best.error, tuple(rungs))

    def remainder_order(self, estimate: Estimate, slope: float) -> float | None:
        """Return the order with which the Taylor remainder falls, None where only rounding is left of it."""
        pairs = [(r.h, abs(r.ahead - self.start - r.h * slope)) for r in estimate.rungs]
        kept = [(h, rest) for h, rest in pairs if rest > 64.0 * self.noise]
        if len(kept) < 2:
            return None
        (h, rest), (smaller, less) = kept[-2:]
        return math.log(rest / less) / math.log(h / smaller)

    def _extrapolate(self, rungs: list[Rung]) -> Estimate:
        slopes = [(r.ahead - r.behind) / (2.0 * r.h) for r in rungs[-2:]]
        rounding = self.noise / rungs[-1].h
        if len(slopes) < 2:
            return Estimate(slopes[0], math.inf)
        coarse, fine = slopes
        return Estimate((SHRINK**2 * fine - coarse) / (SHRINK**2 - 1.0), abs(fine - coarse) / 3.0 + 2.0 * rounding)

    def _at(self, direction: HostArrays, h: float) -> float | None:
        """Return f(p + h v), or None when that is on another side of some kink."""
        at = {**self.problem.at, **{n: self.problem.at[n] + h * v for n, v in direction.items()}}
        self._log.clear()
        value = float(self.problem.value(self._ops, at))
        crossed = any(np.any(np.sign(k.distance) != side) for k, side in zip(self._log, self._sides, strict=True))
        return None if crossed else value

    def _noise(self) -> float:
        """Return the noise of the function: what high differences over tiny steps leave.

        Source: More, Wild, "Estimating computational noise", SIAM Journal on Scientific Computing 33, 2011.
        """
        rng = np.random.default_rng(0)
        direction = {n: sizes(a) * rng.choice([-1.0, 1.0], a.shape) for n, a in self.problem.at.items()}
        values = [self._at(direction, 1e-11 * k) for k in range(-3, 4)]
        table = np.array([v if v is not None else self.start for v in values])
        found = [EPS * abs(self.start), np.finfo(float).tiny]
        if any(v is None for v in values):
            return 16.0 * max(found)
        for k in range(1, 7):
            table = np.diff(table)
            factor = math.factorial(k) ** 2 / math.factorial(2 * k)
            found += [math.sqrt(factor * float(np.mean(table**2)))] * (k >= 3)
        return 4.0 * max(found)


def sizes(array: Any) -> Any:
    """Return the size that a step is measured in, per element: its own, or the usual one of its array if that is larger."""
    usual = float(np.sqrt(np.mean(array**2))) if array.size else 0.0
    return np.maximum(np.abs(array), usual if usual > 0 else 1.0)
