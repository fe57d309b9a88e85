"""The judgement: a hand-written gradient against a reference, array by array, with the tolerance that rounding justifies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check.describe import elements, error_patterns
from bpengine.check.problems.problem import Problem
from bpengine.check.reports.results import Verdict, Worst
from bpengine.check.tolerance import stochastic_rounding as rounding
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops

EXACT = 1e-12  # of an oracle that only rounds, in float64, relative to the largest element of the array
SMALL = 1e-3  # an array this much smaller than the largest gradient is judged by that one's rounding
FLOOR = float(np.finfo(np.float64).tiny)
UNDERFLOW = FLOOR / float(np.finfo(np.float64).eps)  # below it digits are lost: compilers take less than FLOOR for 0
JUMP = 1e-8  # of an array's size: farther than rounding carries a gradient in float64, the square root of its spacing
WORTHLESS = 0.5  # a tolerance that is so much of the largest element tells nothing of what stays below it
NAMED = 100  # elements at kinks that are named at most


def scales(problem: Problem, gradients: HostArrays) -> dict[str, float]:
    """Return what the error of each array is relative to: its largest element, or a part of the largest of all.

    A network's inputs are held against everything, its parameters against parameters alone.
    """
    largest = {name: float(np.max(np.nan_to_num(np.abs(g)), initial=0.0)) for name, g in gradients.items()}
    of_all = max(largest.values(), default=0.0)
    of_parameters = max((value for name, value in largest.items() if name not in problem.inputs), default=0.0)
    least = {name: SMALL * (of_all if name in problem.inputs else of_parameters) for name in gradients}
    return {name: max(value, least[name], FLOOR) for name, value in largest.items()}


def conditioning(problem: Problem, eps: float, base: Callable[[], Ops], *, jumping: bool) -> dict[str, float]:
    """Return how far rounding carries each hand-written gradient, as runs with random rounding show.

    `base` makes NumPy's ops, in which what lies on a kink is moved off it.
    """
    runs = rounding.deviations(problem, eps, base=base)
    return explained(problem, runs, problem.gradients(Ops(np))[1], jumping=jumping)


def explained(
    problem: Problem, runs: list[dict[str, float]], gradients: HostArrays, *, jumping: bool
) -> dict[str, float]:
    """Return what rounding explains in each array, and in the scalar, given how far each has moved in some runs.

    Where rounding decides on which side of a kink that nobody states an element lies, it is `jumping`: a run in which a
    gradient has moved by more than `JUMP` says nothing of it.
    """
    value = rounding.explained([run[rounding.VALUE] for run in runs])
    if jumping:
        sizes = scales(problem, gradients)
        runs = [run for run in runs if all(run[n] <= JUMP * sizes[n] for n in problem.at)]
    return {
        rounding.VALUE: value,
        **{name: rounding.explained([run[name] for run in runs]) for name in problem.at},
    }


def compare(
    problem: Problem,
    oracle: str,
    hand: HostArrays,
    reference: HostArrays,
    allowed: Mapping[str, Any],
    *,
    dtype: Any = np.float64,
    apart: Mapping[str, Any] | None = None,
) -> list[Verdict]:
    """Judge the whole arrays of `hand`; `allowed` is the largest difference of each array, or element, that rounding explains.

    `apart` marks elements whose value is a convention: where they do not agree they are left out, to be judged aside. The
    tolerance told is that of the strictest element.
    """
    sizes, verdicts = scales(problem, {name: reference[name] for name in hand}), []
    for name, ours in hand.items():
        expected, limit = reference[name], np.broadcast_to(allowed[name], ours.shape)
        difference = np.nan_to_num(np.abs(ours - expected), nan=np.inf)
        left = (difference > limit) & (apart or {}).get(name, False)
        difference = np.where(left, 0.0, difference)
        wrong = float(np.max(difference, initial=0.0))
        passed, out = bool(np.all(difference <= limit)), int(np.sum(left))
        worst = (
            _worst(problem, name, ours, expected, difference / np.maximum(limit, FLOOR), passed) if ours.size else None
        )
        unit = float(np.spacing(np.asarray(sizes[name], dtype=dtype)))
        ratio, tolerance = wrong / sizes[name], float(np.min(limit, initial=np.inf)) / sizes[name]
        named = tuple(named_element(problem, name, i) for i in np.argwhere(left)[:NAMED])
        verdicts.append(
            worth(Verdict(
                name, oracle, ratio, wrong / max(unit, FLOOR), tolerance, ours.size, passed, worst, None, out, 0, out, named
            ))
        )  # fmt: skip
    return verdicts


def exact_allowance(reference: HostArrays, *rounded: Mapping[str, float]) -> dict[str, float]:
    """Return the allowance of an oracle that only rounds: of each array's own size, and what rounding explains on each side.

    An array of very small gradients, as of the first layers of a deep network, is not excused by the large ones of others.
    """
    own = {name: float(np.max(np.abs(np.nan_to_num(g)), initial=0.0)) for name, g in reference.items()}
    return {name: EXACT * size + sum(side[name] for side in rounded) + UNDERFLOW for name, size in own.items()}


def worth(verdict: Verdict) -> Verdict:
    """Return a verdict; one that says so where a difference is seen, but no more than what may change all of the array."""
    if not verdict.passed or verdict.error == 0 or verdict.tolerance <= WORTHLESS:
        return verdict
    return replace(verdict, compared=0, ill=verdict.ill + verdict.compared)


def named_element(problem: Problem, name: str, index: Any) -> str:
    """Return an element's name in words."""
    place = tuple(int(i) for i in index)
    return elements.element(name, place, problem.at[name].shape, problem.bias_rows.get(name))


def _worst(problem: Problem, name: str, hand: Any, expected: Any, excess: Any, passed: bool) -> Worst:
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), hand.shape))
    looks = "" if passed else error_patterns.cause(hand, expected, index, problem.counts, name, problem.at)
    return Worst(named_element(problem, name, index), float(hand[index]), float(expected[index]), looks)
