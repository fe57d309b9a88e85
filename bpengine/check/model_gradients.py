"""A model's own gradients, in its own dtype on its own backend, against the reference in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bpengine.check.kinks.kinks import Kink, any_undecided, off_kink_shifts
from bpengine.check.kinks.ops import OffKinkOps
from bpengine.check.problems.problem import Problem
from bpengine.check.problems.subjects import WHO, NetworkPoint
from bpengine.check.reports.results import ArrayResult, OracleUse
from bpengine.check.tolerance import agreement
from bpengine.check.tolerance.stochastic_rounding import DRAWS, deviations, machine_epsilon, rounding_allowance
from bpengine.data import Encoded
from bpengine.errors import NonFiniteError
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops
from bpengine.trained import TrainedNetwork


def check_model_gradients(
    model: TrainedNetwork,
    point: NetworkPoint,
    problem: Problem,
    kinks: list[Kink],
    reference: HostArrays,
    reference_rounding: Mapping[str, float],
) -> tuple[OracleUse, list[ArrayResult]]:
    """Compare what `model.loss_and_gradients` returns, one gradient per parameter, with the reference.

    `reference_rounding` bounds the rounding error of the reference itself.
    """
    x, y, weights = point.rows
    loss, gradients = model.loss_and_gradients(Encoded(x), y, weights)
    if not math.isfinite(loss):
        raise NonFiniteError(
            f"{WHO} requires a finite loss at the point, got {loss} from the model itself, {model.dtype} on "
            f"{model.backend.name}; in float64 it is {problem.value(Ops(np), problem.at):.6g}. Scale the data or the weights."
        )
    hand = {n: np.asarray(gradients[n], dtype=np.float64) for n in problem.at if n in gradients}
    precision, name = model.backend.precision, f"own {model.dtype}"
    eps, longest = machine_epsilon(precision), max(len(x), *point.network.sizes)
    sizes, jumps = agreement.scales(problem, reference), _jumps(problem, kinks, eps)
    runs = deviations(problem, eps, model.dtype)
    moved = {n: rounding_allowance([run[n] for run in runs], sizes[n], longest, eps) for n in hand}
    allowed = {n: moved[n] + jumps.get(n, 0.0) + reference_rounding.get(n, 0.0) for n in hand}
    results = agreement.compare(problem, name, hand, reference, allowed, dtype=model.dtype)
    note = (
        f"the model's own gradients against float64; the tolerance is what {DRAWS} runs in {precision} with random "
        f"rounding show, and what {precision} explains in sums of {longest} terms"
    )
    return OracleUse(name, True, f"{precision} on {model.backend.name}", note), results


def _jumps(problem: Problem, kinks: list[Kink], eps: float) -> HostArrays:
    """Return how far each element jumps where rounding in this dtype alone decides on the side of a kink."""
    if not any_undecided(kinks, eps):
        return {}
    shifts = [off_kink_shifts(kinks, eps, side, all_to=side) for side in (-1.0, 1.0)]
    left, right = (problem.gradients(OffKinkOps(np, shift))[1] for shift in shifts)
    return {n: np.abs(left[n] - right[n]) for n in problem.at}
