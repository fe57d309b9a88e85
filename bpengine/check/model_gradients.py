"""A model's own gradients, in its own dtype on its own backend, against the reference in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bpengine.check.kinks import kinks
from bpengine.check.kinks.kinks import Kink
from bpengine.check.kinks.ops import Shifted
from bpengine.check.oracles.run import OracleUse
from bpengine.check.problems.problem import Problem
from bpengine.check.problems.subjects import WHO, Point
from bpengine.check.reports.results import Verdict
from bpengine.check.tolerance import agreement
from bpengine.check.tolerance import stochastic_rounding as rounding
from bpengine.errors import NonFiniteError
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops


def own_gradients(
    model: Any,
    point: Point,
    problem: Problem,
    met: list[Kink],
    reference: HostArrays,
    explained: Mapping[str, float],
) -> tuple[OracleUse, list[Verdict]]:
    """Judge what `model.loss_and_gradients` returns: one gradient per parameter.

    `explained` is how far its own rounding may have carried the reference.
    """
    x, y, weights = point.rows
    loss, gradients = model.loss_and_gradients(x, y, weights)
    if not math.isfinite(loss):
        raise NonFiniteError(
            f"{WHO} requires a finite loss at the point, got {loss} from the model itself, {model.dtype} on "
            f"{model.backend.name}; in float64 it is {problem.value(Ops(np), problem.at):.6g}. Scale the data or the weights."
        )
    hand = {n: np.asarray(gradients[n], dtype=np.float64) for n in problem.at if n in gradients}
    precision, name = model.backend.precision, f"own {model.dtype}"
    eps, longest = rounding.unit(precision), max(len(x), *point.network.sizes)
    sizes, jumps = agreement.scales(problem, reference), _jumps(problem, met, eps)
    runs = rounding.deviations(problem, eps, model.dtype)
    moved = {n: rounding.allowance([run[n] for run in runs], sizes[n], longest, eps) for n in hand}
    allowed = {n: moved[n] + jumps.get(n, 0.0) + explained.get(n, 0.0) for n in hand}
    verdicts = agreement.compare(problem, name, hand, reference, allowed, dtype=model.dtype)
    note = (
        f"the model's own gradients against float64; the tolerance is what {rounding.DRAWS} runs in {precision} with random "
        f"rounding show, and what {precision} explains in sums of {longest} terms"
    )
    return OracleUse(name, True, f"{precision} on {model.backend.name}", note), verdicts


def _jumps(problem: Problem, met: list[Kink], eps: float) -> HostArrays:
    """Return how far each element jumps where rounding in this dtype alone decides on the side of a kink."""
    if not kinks.ambiguous(met, eps):
        return {}
    amounts = [kinks.shifts(met, eps, side, all_to=side) for side in (-1.0, 1.0)]
    sides = [problem.gradients(Shifted(np, amount))[1] for amount in amounts]
    return {n: np.abs(sides[0][n] - sides[1][n]) for n in problem.at}
