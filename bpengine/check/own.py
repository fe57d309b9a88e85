"""A model's own gradients, in its own dtype on its own backend, against the reference in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bpengine.check import judge, kinks
from bpengine.check.judge import Verdict
from bpengine.check.kinks import Kink
from bpengine.check.oracles import OracleUse
from bpengine.check.problem import Problem
from bpengine.check.subjects import Point
from bpengine.layers.layer import HostArrays

ROOM = 32.0  # times what a few runs with random rounding show: the largest of four is not the largest possible


def agreement(dtype: Any, longest: int) -> float:
    """Bound two ways to the same number, relative to the largest element, by dtype and the length of the longest sum."""
    return 8.0 * float(np.finfo(dtype).eps) * math.sqrt(longest)


def own_gradients(
    model: Any, point: Point, problem: Problem, met: list[Kink], reference: HostArrays
) -> tuple[OracleUse, list[Verdict]]:
    """Judge what `model.loss_and_gradients` returns."""
    x, y, weights = point.rows
    _, gradients = model.loss_and_gradients(x, y, weights)
    name, precision = f"own {model.dtype}", f"{model.dtype} on {model.backend.name}"
    eps, longest = float(np.finfo(model.dtype).eps), max(len(x), *point.network.sizes)
    sizes = judge.scales(reference)
    moved = judge.conditioning(problem, [], eps, draws=4)
    jumps = _jumps(problem, met, eps)
    layers = len(point.network.layers)
    allowed = {
        n: agreement(model.dtype, longest * layers) * sizes[n] + ROOM * moved[n] + jumps.get(n, 0.0) for n in reference
    }
    hand = {n: np.asarray(g, dtype=np.float64) for n, g in gradients.items()}
    note = f"the model's own gradients against float64; the tolerance is for {model.dtype} and sums of {longest} terms"
    return OracleUse(name, True, precision, note), judge.compare(
        problem, name, hand, reference, allowed, dtype=model.dtype
    )


def _jumps(problem: Problem, met: list[Kink], eps: float) -> HostArrays:
    """Return how far each element jumps where rounding in this dtype alone decides on the side of a kink."""
    if not kinks.ambiguous(met, eps):
        return {}
    sides = [problem.gradients(kinks.shifted(np, kinks.shifts(met, eps, side, all_to=side)))[1] for side in (-1.0, 1.0)]
    return {n: np.abs(sides[0][n] - sides[1][n]) for n in problem.at}
