"""The third oracle: the complex step, f'(p) = Im f(p + i h) / h. Nothing is subtracted, so it is exact up to rounding.

It applies where every kernel on the path is complex differentiable as written (`analytic` in its row).
Source: Squire, Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998.
"""

from __future__ import annotations

import numpy as np

from bpengine.check.problems.problem import Problem
from bpengine.layers.layer import HostArrays
from bpengine.ops import Call, ObservedOps, Ops

STEP = 1e-100


def obstacle(problem: Problem) -> str | None:
    """Return why the complex step does not apply, or None when it does."""
    calls: list[Call] = []
    problem.value(ObservedOps(Ops(np), calls.append), problem.at)
    steps = [call.kernel for call in calls if call.kernel.kind not in ("helper", "update")]
    not_analytic = sorted({kernel.name for kernel in steps if not kernel.analytic})
    if not_analytic:
        return f"not complex differentiable as written: {', '.join(not_analytic)}"
    if problem.foreign:
        return f"{problem.foreign} is not the engine's own: skipped, not declared complex-differentiable"
    return None


def along(problem: Problem, direction: HostArrays) -> float:
    """Return the derivative along a direction."""
    at = {**problem.at, **{n: problem.at[n] + (1j * STEP) * v for n, v in direction.items()}}
    return float(np.imag(problem.value(Ops(np), at)) / STEP)
