"""Compare a hand-written gradient with a reference, array by array, within the tolerance that rounding justifies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.check.describe.elements import element_name, of_inputs
from bpengine.check.describe.error_patterns import error_pattern
from bpengine.check.problems.problem import Problem
from bpengine.check.reports.results import ArrayResult, WorstElement
from bpengine.check.tolerance.stochastic_rounding import SCALAR, deviations, likely_deviation
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops

# the tolerance of an oracle whose only error is rounding, in float64, relative to the largest element of the array
EXACT = 1e-12
SMALL = 1e-3  # an array this much smaller than the largest gradient is compared within the rounding of the largest
FLOOR = float(np.finfo(np.float64).tiny)
# below it digits are lost: compilers flush numbers below FLOOR to 0
UNDERFLOW = FLOOR / float(np.finfo(np.float64).eps)
# relative to an array's size: more than rounding changes a gradient in float64, the square root of the spacing
JUMP = 1e-8
UNINFORMATIVE = 0.5  # above this share of the largest element, a tolerance cannot reveal an error
NAMED = 100  # at most so many elements at kinks are named


def scales(problem: Problem, gradients: HostArrays) -> dict[str, float]:
    """Return the size that the error of each array is relative to: its largest element, or a fraction of the largest of all.

    A network's inputs are compared with the largest gradient of all, its parameters with the largest of the parameters.
    """
    largest = {name: float(np.max(np.nan_to_num(np.abs(g)), initial=0.0)) for name, g in gradients.items()}
    of_all = max(largest.values(), default=0.0)
    of_parameters = max((value for name, value in largest.items() if name not in problem.inputs), default=0.0)
    least = {name: SMALL * (of_all if name in problem.inputs else of_parameters) for name in gradients}
    return {name: max(value, least[name], FLOOR) for name, value in largest.items()}


def hand_rounding(problem: Problem, eps: float, base: Callable[[], Ops], *, jumping: bool) -> dict[str, float]:
    """Return how far rounding moves each hand-written gradient, measured by randomly rounded runs.

    `base` makes NumPy's ops, in which elements at a kink are moved off it.
    """
    runs = deviations(problem, eps, base=base)
    return likely_deviations(problem, runs, problem.gradients(Ops(np))[1], jumping=jumping)


def likely_deviations(
    problem: Problem, runs: list[dict[str, float]], gradients: HostArrays, *, jumping: bool
) -> dict[str, float]:
    """Return how far rounding moves each array and the scalar, estimated from their changes in some runs.

    With `jumping`, rounding decides on which side of a kink that no kernel states an element lies: a run in which a gradient
    has moved by more than `JUMP` has changed sides, and shows no rounding.
    """
    value = likely_deviation([run[SCALAR] for run in runs])
    if jumping:
        sizes = scales(problem, gradients)
        runs = [run for run in runs if all(run[n] <= JUMP * sizes[n] for n in problem.at)]
    return {SCALAR: value, **{name: likely_deviation([run[name] for run in runs]) for name in problem.at}}


def compare(
    problem: Problem,
    oracle: str,
    hand: HostArrays,
    reference: HostArrays,
    allowed: Mapping[str, Any],
    *,
    dtype: np.typing.DTypeLike = np.float64,
    conventions: Mapping[str, Any] | None = None,
) -> list[ArrayResult]:
    """Compare the whole arrays of `hand`; `allowed` is the largest difference of each array, or element, by rounding.

    `conventions` marks elements whose value is a convention: where they do not agree they are left out, to be checked at a
    nearby point. The tolerance reported is that of the strictest element.
    """
    sizes = scales(problem, {name: reference[name] for name in hand})
    return [
        _compare_array(
            problem, oracle, name, (ours, reference[name]), np.broadcast_to(allowed[name], ours.shape), sizes[name],
            dtype=dtype, convention=(conventions or {}).get(name, False),
        )
        for name, ours in hand.items()
    ]  # fmt: skip


def _compare_array(
    problem: Problem,
    oracle: str,
    name: str,
    arrays: tuple[Any, Any],
    limit: float | HostArray,
    size: float,
    *,
    dtype: np.typing.DTypeLike,
    convention: object,
) -> ArrayResult:
    ours, expected = arrays
    difference = np.nan_to_num(np.abs(ours - expected), nan=np.inf)
    left_out = (difference > limit) & convention
    difference = np.where(left_out, 0.0, difference)
    passed, number = bool(np.all(difference <= limit)), int(np.sum(left_out))
    error, unit = float(np.max(difference, initial=0.0)), float(np.spacing(np.asarray(size, dtype=dtype)))
    excess = difference / np.maximum(limit, FLOOR)
    result = ArrayResult(
        array=name,
        oracle=oracle,
        error=error / size,
        ulp=error / max(unit, FLOOR),
        tolerance=float(np.min(limit, initial=np.inf)) / size,
        compared=ours.size,
        passed=passed,
        worst=_worst(problem, name, ours, expected, excess, passed) if ours.size else None,
        left_out=number,
        aside=number,
        elements=tuple(named_element(problem, name, i) for i in np.argwhere(left_out)[:NAMED]),
    )
    return mark_uninformative(result)


def exact_allowance(reference: HostArrays, *rounded: Mapping[str, float]) -> dict[str, float]:
    """Return the allowance for an oracle whose only error is rounding: from each array's size and the rounding on each side.

    Each array has its own scale: large gradients elsewhere do not widen the tolerance of small ones, as in the first layers
    of a deep network.
    """
    own = {name: float(np.max(np.abs(np.nan_to_num(g)), initial=0.0)) for name, g in reference.items()}
    return {name: EXACT * size + sum(side[name] for side in rounded) + UNDERFLOW for name, size in own.items()}


def mark_uninformative(result: ArrayResult) -> ArrayResult:
    """Mark a result as uninformative if its tolerance is as large as the array."""
    if not result.passed or result.error == 0 or result.tolerance <= UNINFORMATIVE:
        return result
    return replace(result, compared=0, ill=result.ill + result.compared)


def named_element(problem: Problem, name: str, index: Sequence[int]) -> str:
    """Return an element's name in words."""
    place = tuple(int(i) for i in index)
    shape, bias_row = problem.at[name].shape, problem.bias_rows.get(name)
    return element_name(name, place, shape, bias_row, of_inputs(name, shape, problem.input_names))


def _worst(
    problem: Problem, name: str, hand: HostArray, expected: HostArray, excess: HostArray, passed: bool
) -> WorstElement:
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), hand.shape))
    pattern = "" if passed else error_pattern(hand, expected, index, problem.counts, name, problem.at)
    return WorstElement(named_element(problem, name, index), float(hand[index]), float(expected[index]), pattern)
