"""The correct values at a kink that no kernel states: those between the slopes on its two sides.

Where several kinks meet in one output, slopes along a line do not determine which sides a convention may take; there the
slopes of the backward around the point are allowed. Custom layers and a custom loss are checked separately, inside their
network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check.kinks.nearby import NearbySlopes, nearby_slopes
from bpengine.check.kinks.one_sided_slopes import EPS, OneSidedSlopes, SlopeInterval
from bpengine.check.oracles.sampling import SampledChecks
from bpengine.check.problems import layerwise
from bpengine.check.problems.kernel_calls import of_kernel
from bpengine.check.problems.problem import Problem, of_layer
from bpengine.check.reports.results import ArrayResult, WorstElement
from bpengine.check.tolerance import agreement
from bpengine.kernels._kernel import Array
from bpengine.layers.chain import LayerStep
from bpengine.losses import CustomLoss, Loss
from bpengine.network import foreign
from bpengine.ops import Ops
from bpengine.system.quiet import Quiet
from bpengine.training.rows import Rows

ORACLE = "one-sided slopes"
SCOPE = "elements whose value jumps at an undeclared kink"
OUTSIDE = "at a kink, and not among the slopes beside it"
EXACT = 1e-6  # relative to the largest gradient: more than the error of a difference with that step
MOST = 512  # how many elements of an array are examined: those farthest from the slopes around them


def check_unstated_kinks(checks: SampledChecks) -> list[ArrayResult]:
    """Check the elements whose gradient differs on its two sides; none where no unstated kink is at the point."""
    problem = checks.problem
    if problem.terms is None or problem.foreign is None or not checks.at_a_kink:
        return []
    around, slopes = nearby_slopes(problem, checks.seed), OneSidedSlopes(problem, checks.seed)
    results = (_check_array(checks, name, around, slopes) for name in problem.at)
    return [result for result in results if result]


@Quiet()
def check_custom_layers(steps: list[LayerStep], cotangents: list[Any], ops: Ops, seed: int) -> list[ArrayResult]:
    """Check the values of every custom layer at its unstated kinks; none where there are none."""
    results = list[ArrayResult]()
    for step, dy in custom_steps(steps, cotangents, ops):
        problem = of_layer(step.layer, ops, step.x, step.params, dy, step.running, step.run)
        results += _check_inside(problem, seed, step.run.place, f"layer {step.run.place}")
    return results


@Quiet()
def check_custom_loss(loss: Loss | CustomLoss, y: Array, rows: Rows, ops: Ops, seed: int) -> list[ArrayResult]:
    """Check the gradient of a custom loss at the unstated kinks of its value; none where there are none."""
    if not isinstance(loss, CustomLoss):
        return []
    values = dict(zip(loss.kernel.arguments, (y, rows.target, rows.weights), strict=False))
    arrays = {name: np.asarray(value) for name, value in values.items() if value is not None}
    problem = of_kernel(loss.kernel, ops, arrays, {}, np.ones(()))
    return _check_inside(problem, seed, "loss", "the loss")


def custom_steps(steps: list[LayerStep], cotangents: list[Any], ops: Ops) -> Iterator[tuple[LayerStep, Any]]:
    """Yield the layers that are not the engine's own, also those inside of Residual, with the gradient of their output."""
    for step, dy in zip(steps, cotangents, strict=True):
        inside = layerwise.inner_steps(step, ops, dy)
        if inside:
            yield from custom_steps([inner for inner, _ in inside], [d for _, d in inside], ops)
        elif foreign([step.layer]):
            yield step, dy


def _check_inside(problem: Problem, seed: int, place: str, place_in_words: str) -> list[ArrayResult]:
    """Check a layer or loss by itself, and name its arrays and elements by its place in the network."""
    results = []
    for result in check_unstated_kinks(SampledChecks(problem, seed)):
        worst = result.worst and replace(result.worst, element=f"{place_in_words}, {result.worst.element}")
        results.append(replace(result, array=f"{place}.{result.array}", worst=worst))
    return results


def _check_array(checks: SampledChecks, name: str, around: NearbySlopes, slopes: OneSidedSlopes) -> ArrayResult | None:
    """Check the elements of an array that jump, and report the worst of them; None where none does."""
    hand, scale, bounds = checks.hand[name], checks.sizes[name], around.bounds(name)
    # how far outside the interval, and how much of that is allowed
    outside: list[tuple[float, float, tuple[int, ...], SlopeInterval]] = []
    for index in _jumping(checks, name, around):
        interval = slopes.interval(name, index)
        if interval is None:
            continue
        value, allowed = float(hand[index]), interval.error + EXACT * scale
        if interval.beyond(value) > allowed and slopes.kinks_meet(name, index):
            interval = interval.with_bounds(*(float(bound[index]) for bound in bounds))
        outside.append((interval.beyond(value), allowed, index, interval))
    if not outside:
        return None
    error, allowed, index, interval = max(outside, key=lambda one: one[0] / one[1])
    value, passed = float(hand[index]), error <= allowed
    cause = "" if passed else f"{OUTSIDE}, {interval.low:.4g} to {interval.high:.4g}"
    element = agreement.named_element(checks.problem, name, index)
    return ArrayResult(
        array=name,
        oracle=ORACLE,
        error=error / scale,
        ulp=error / (EPS * scale),
        tolerance=allowed / scale,
        compared=len(outside),
        passed=passed,
        worst=WorstElement(element, value, interval.nearest(value), cause),
    )


def _jumping(checks: SampledChecks, name: str, around: NearbySlopes) -> list[tuple[int, ...]]:
    """Return the elements whose gradient differs at points very close to the given one, the largest differences first."""
    hand, low, high = checks.hand[name], around.least[name], around.largest[name]
    limit = agreement.JUMP * checks.sizes[name] + checks.rounding[name]
    jumps = ~((hand - low <= limit) & (high - hand <= limit))
    beyond = np.nan_to_num(np.maximum(low - hand, hand - high), nan=np.inf)
    order = np.argsort(np.where(jumps, -beyond, np.inf), axis=None, kind="stable")[: int(min(MOST, jumps.sum()))]
    return [tuple(int(i) for i in np.unravel_index(int(k), hand.shape)) for k in order]
