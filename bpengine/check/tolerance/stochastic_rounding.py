"""Stochastic rounding: the rounding error of a computation in a given precision, measured by randomly rounded runs.

No closed form gives it, since it depends on the condition of every intermediate sum. So the computation itself is run
several times with every kernel's arguments changed by one rounding, up or down at random (`StochasticRoundingOps`), in the
precision in question; the distance of the results from the exact ones shows the effect of rounding.
Sources: Vignes, "A stochastic arithmetic for reliable scientific computation", Mathematics and Computers in Simulation 35,
1993; Higham, Mary, "A new approach to probabilistic rounding error analysis", SIAM Journal on Scientific Computing 41, 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check.intercept import InterceptedOps
from bpengine.check.kinks.kinks import Kink
from bpengine.check.kinks.ops import KinkRecorder
from bpengine.check.problems.problem import Problem
from bpengine.kernels import Kernel
from bpengine.kernels._trees import Tree
from bpengine.layers.layer import HostArrays
from bpengine.ops import Direction, Ops
from bpengine.streams import stream

POOL = 65_521  # random numbers that are reused: drawing new ones for each call would take most of the time
DRAWS = 8  # runs with random rounding
STUDENT = 13.26  # a normal error exceeds this many times the root mean square of 8 others once in a million
# a sum of k terms is off by more than this many sqrt(k) half ulps of it once in a million: 2 exp(-SUMS^2 / 2)
SUMS = 5.39
SCALAR = "the scalar itself"  # the name of the scalar's deviation; no array has this name
REDUCED = {"tf32": 2.0**-10, "bfloat16": 2.0**-7}  # spacing of the numbers that matrices are multiplied in


def machine_epsilon(precision: str) -> float:
    """Return the spacing of the numbers next to 1 in a backend's precision."""
    return REDUCED.get(precision) or float(np.finfo(precision).eps)


def likely_deviation(deviations: Sequence[Any]) -> float:
    """Return the bound that the deviation of one more run exceeds once in a million; runs that overflowed do not count."""
    finite = [d for d in map(float, deviations) if math.isfinite(d)]
    # a few runs give no more than their root mean square: STUDENT is the t quantile for that many
    return STUDENT * math.sqrt(sum(d * d for d in finite) / len(finite)) if finite else 0.0


def rounding_allowance(deviations: Sequence[Any], size: float, longest: int, eps: float) -> float:
    """Return how far an array may be from the exact one by rounding alone; exceeded once in a million arrays.

    deviations: for each of DRAWS runs with random rounding, the largest deviation in the array: they include the condition
        of the sums and the roundings inside the kernels. That of the array in question is one more of the same kind, so it
        stays below STUDENT times their root mean square.
        size, longest: the largest element and the longest sum. Another backend adds in another order, whose effect those
        runs do not include: SUMS sqrt(longest) eps / 2, relative to the size.
    Measured on 1,000 random networks, 1 to 4,000 rows, badly conditioned ones among them: the largest deviation was 2.0
    times the root mean square on NumPy and 9.6 times on JAX; at half of all arrays it was below 0.6.
    """
    return likely_deviation(deviations) + SUMS * math.sqrt(longest) * eps / 2.0 * size


def deviations(
    problem: Problem, eps: float, dtype: object = None, base: Callable[[], Ops] = lambda: Ops(np)
) -> list[dict[str, float]]:
    """Return, for each of DRAWS randomly rounded runs, the largest deviation in each gradient and, as SCALAR, in the scalar.

    The kernels are those of the table, bound in the ops that `base` makes: the kernels under check may differ from them, and
    their own rounding must not widen the tolerance.
    """
    value, exact = problem.gradients(base())
    runs = []
    for draw in range(DRAWS):
        ops = StochasticRoundingOps(base(), eps, draw, dtype)
        rounded_value, gradients = problem.gradients(ops, ops.rounded_arrays(problem.at))
        runs.append(largest_deviations(gradients, exact) | {SCALAR: abs(rounded_value - value)})
    return runs


def largest_deviations(gradients: HostArrays, exact: HostArrays) -> dict[str, float]:
    """Return the largest deviation in each array."""
    return {n: float(np.max(np.abs(g - exact[n]), initial=0.0)) for n, g in gradients.items()}


def with_distance_noise(problem: Problem, kinks: list[Kink], eps: float) -> list[Kink]:
    """Return the kinks at a problem's point with the noise of their distances, measured by randomly rounded runs."""
    if all(kink.side == "none" for kink in kinks):
        return kinks
    noise = [np.zeros(np.shape(kink.distance)) for kink in kinks]
    # The same kinks occur in the same order in every run, so distances are compared pair by pair.
    for draw in range(DRAWS):
        log: list[Kink] = []
        ops = StochasticRoundingOps(KinkRecorder(log), eps, draw)
        problem.value(ops, ops.rounded_arrays(problem.at))
        for k, (kink, moved) in enumerate(zip(kinks, log, strict=True)):
            noise[k] = np.maximum(noise[k], np.nan_to_num(np.abs(moved.distance - kink.distance)))
    return [replace(kink, noise=most) for kink, most in zip(kinks, noise, strict=True)]


class StochasticRoundingOps(InterceptedOps):
    """Ops around other ops; `eps` is the size of one rounding. With `dtype` every call is made in it."""

    def __init__(self, ops: Ops, eps: float, draw: int, dtype: object = None) -> None:
        super().__init__(ops)
        self._dtype = dtype
        self._noise = 1.0 + eps * stream("check rounding", draw).uniform(-1.0, 1.0, POOL)
        self._used = 0

    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Tree:
        result = function(*(self.rounded(a) for a in args), **options)
        # the output of a forward is an argument of the next call and is rounded there; a gradient may be the last result
        return self.rounded(result) if direction == "backward" else result

    def rounded_arrays(self, arrays: HostArrays) -> HostArrays:
        """Return named arrays, each element changed by up to one rounding."""
        return {name: self.rounded(array) for name, array in arrays.items()}

    def rounded(self, value: Tree) -> Tree:
        """Return an array, or those in a tuple, with every element changed by up to one rounding."""
        if isinstance(value, tuple):
            parts = [self.rounded(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if not hasattr(value, "dtype") or not self.xp.isdtype(value.dtype, "real floating"):
            return value
        self._used = (self._used + 7919) % POOL  # the noise of a call starts elsewhere in the pool
        noise = np.resize(np.roll(self._noise, self._used), tuple(value.shape))
        changed = value * self.xp.asarray(noise, dtype=value.dtype)
        return changed if self._dtype is None else self.xp.asarray(changed, dtype=self._dtype)
