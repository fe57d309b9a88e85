"""Rounding made visible: how far two correct ways to compute the same numbers may part in a given precision.

Nothing in closed form tells this: it hangs on the condition of every sum on the way. So the computation itself is run
several times with every kernel's arguments changed by one rounding, up or down at random (`RoundedOps`), in the precision in
question; how far the results part from the exact ones shows what rounding does to them.
Sources: Vignes, "A stochastic arithmetic for reliable scientific computation", Mathematics and Computers in Simulation 35,
1993; Higham, Mary, "A new approach to probabilistic rounding error analysis", SIAM Journal on Scientific Computing 41, 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bpengine.check.intercept import CallOps
from bpengine.check.problems.problem import Problem
from bpengine.kernels import Kernel
from bpengine.layers.layer import HostArrays
from bpengine.ops import Direction, Ops
from bpengine.streams import stream

POOL = 65_521  # random numbers, used again and again: drawing them anew for each call would take most of the time
DRAWS = 8  # runs with random rounding
STUDENT = 13.26  # a normal error exceeds this many times the root mean square of 8 others once in a million
SUMS = (
    5.39  # a sum of k terms is off by more than this many sqrt(k) half ulps of it once in a million: 2 exp(-SUMS^2 / 2)
)
VALUE = "the scalar itself"  # the name of its deviation, which no array has
REDUCED = {"tf32": 2.0**-10, "bfloat16": 2.0**-7}  # spacing of the numbers that matrices are multiplied in


def unit(precision: str) -> float:
    """Return the spacing of the numbers next to 1 in a backend's precision."""
    return REDUCED.get(precision) or float(np.finfo(precision).eps)


def explained(deviations: Sequence[Any]) -> float:
    """Return how far one more run of the kind may deviate, but for one in a million; runs that overflowed do not count."""
    told = [d for d in map(float, deviations) if math.isfinite(d)]
    return STUDENT * math.sqrt(sum(d * d for d in told) / len(told)) if told else 0.0


def allowance(deviations: Sequence[Any], size: float, longest: int, eps: float) -> float:
    """Return how far an array may be from the exact one by rounding alone; exceeded once in a million arrays.

    deviations: for each of DRAWS runs with random rounding, the largest deviation in the array: they hold the condition of
        the sums and the roundings inside the kernels. That of the array in question is one more of the same kind, so it
        stays below STUDENT times their root mean square.
    size, longest: the largest element and the longest sum. Another backend adds up in another order, which those runs do
        not show: SUMS sqrt(longest) eps / 2 of the size.
    Measured on 1,000 random networks, 1 to 4,000 rows, badly conditioned ones among them: the largest deviation was 2.0
    times the root mean square on NumPy and 9.6 times on JAX; at half of all arrays it was below 0.6.
    """
    return explained(deviations) + SUMS * math.sqrt(longest) * eps / 2.0 * size


def deviations(
    problem: Problem, eps: float, dtype: Any = None, base: Callable[[], Ops] = lambda: Ops(np)
) -> list[dict[str, float]]:
    """Return, for each of DRAWS runs with random rounding, the largest deviation in each gradient and, as VALUE, the scalar's.

    The kernels are those of the table, bound in the ops that `base` makes: what is judged may be made of others, and is not
    asked how exact it is.
    """
    value, exact = problem.gradients(base())
    found = []
    for draw in range(DRAWS):
        ops = RoundedOps(base(), eps, draw, dtype)
        other, gradients = problem.gradients(ops, {name: ops.rounded(a) for name, a in problem.at.items()})
        found.append(largest(gradients, exact) | {VALUE: abs(other - value)})
    return found


def largest(gradients: HostArrays, exact: HostArrays) -> dict[str, float]:
    """Return the largest deviation in each array."""
    return {n: float(np.max(np.abs(g - exact[n]), initial=0.0)) for n, g in gradients.items()}


class RoundedOps(CallOps):
    """Ops around other ops; `eps` is the size of one rounding. With `dtype` every call is made in it."""

    def __init__(self, ops: Ops, eps: float, draw: int, dtype: Any = None) -> None:
        super().__init__(ops)
        self._dtype = dtype
        self._noise = 1.0 + eps * stream("check rounding", draw).uniform(-1.0, 1.0, POOL)
        self._used = 0

    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Any:
        result = function(*(self.rounded(a) for a in args), **options)
        return self.rounded(result) if direction == "backward" else result

    def rounded(self, value: Any) -> Any:
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
