"""Run the applicable oracles on a problem and collect one result per array."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from bpengine.backend import get_oracle
from bpengine.check.kinks.nearby import nearby_slopes
from bpengine.check.oracles import complex_step
from bpengine.check.oracles.autodiff import Autodiff, autodiff
from bpengine.check.oracles.gradient_sample import DIRECTIONS, scope
from bpengine.check.oracles.sampling import SampledChecks
from bpengine.check.oracles.unstated_kinks import OUTSIDE, check_unstated_kinks
from bpengine.check.problems.problem import Problem
from bpengine.check.reports.results import ArrayResult, OracleUse, WorstElement, note_nearby_point
from bpengine.check.tolerance import agreement
from bpengine.check.tolerance.stochastic_rounding import SCALAR
from bpengine.errors import BackendUnavailable, in_english
from bpengine.layers.layer import HostArrays

NAMES = ("autodiff", "differences", "complex step", "inner products")

OracleResults = tuple[OracleUse, list[ArrayResult]]


class Oracles:
    """The oracles of one problem at its point."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.problem, self.seed = problem, seed
        self.checks = SampledChecks(problem, seed)
        self.kinks, self.loss, self.hand = self.checks.kinks, self.checks.loss, self.checks.hand
        self.reference: HostArrays | None = None  # by autodiff; at unstated kinks the hand-written value
        self.reference_rounding: Mapping[str, float] = {}  # a bound on its rounding error
        self._run: Mapping[str, Callable[[], OracleResults]] = dict(
            zip(NAMES, (self._autodiff, self._differences, self._complex_step, self._inner_products), strict=True)
        )

    def run(self, name: str) -> OracleResults:
        """Run one oracle by name."""
        return self._run[name]()

    def at_unstated_kinks(self) -> list[ArrayResult]:
        """Check the values at kinks that no kernel states, whichever oracles are asked for."""
        return check_unstated_kinks(self.checks)

    def _autodiff(self) -> OracleResults:
        try:
            oracle = get_oracle()
        except BackendUnavailable as error:
            return OracleUse("autodiff", False, "", in_english(error)), []
        try:
            at_point = self._autodiff_at_point()
        except Exception as error:
            if not self.problem.foreign:
                raise
            return OracleUse("autodiff", False, "", _not_traced(self.problem.foreign, error)), []
        self.reference, self.reference_rounding = at_point.gradients, at_point.rounding
        results = self._compare(self.checks, at_point)
        if self.problem.unstated and not all(v.passed for v in results):
            results = self._skip_unstated_kinks(results, at_point)
        elif self._on_a_kink:
            results = self._with_both_sides(results)
        note = f"{oracle.name}, every element; value {at_point.value:.6g}"
        return OracleUse("autodiff", True, oracle.precision, note), [*results, self._value(at_point.value)]

    def _autodiff_at_point(self) -> Autodiff:
        """Return autodiff's gradients; at a kink that no kernel states, with the largest rounding on its sides as well."""
        at_point = autodiff(self.problem, self.kinks, jumping=self.checks.jumping)
        sides = [by_autodiff.rounding for _, by_autodiff in self._nearby] if self.checks.jumping else []
        most = {name: max(one[name] for one in (at_point.rounding, *sides)) for name in at_point.rounding}
        return replace(at_point, rounding=most)

    @cached_property
    def _nearby(self) -> list[tuple[SampledChecks, Autodiff]]:
        """Autodiff's gradients at the nearby points, on both sides of the kinks at the point."""
        return [(nearby, autodiff(nearby.problem, nearby.kinks)) for nearby in self.checks.nearby]

    def _compare(
        self, checks: SampledChecks, by_autodiff: Autodiff, conventions: Mapping[str, Any] | None = None
    ) -> list[ArrayResult]:
        reference = by_autodiff.gradients
        allowed = agreement.exact_allowance(reference, checks.rounding, by_autodiff.rounding)
        return agreement.compare(checks.problem, "autodiff", checks.hand, reference, allowed, conventions=conventions)

    def _skip_unstated_kinks(self, results: list[ArrayResult], at_point: Autodiff) -> list[ArrayResult]:
        """Skip elements at unstated kinks, provided the gradient is right at the nearby points.

        An array that is wrong at a nearby point is reported with its values there. Where autodiff has no gradient even
        there, as for sqrt(x^2) at 0, only the other oracles are compared.
        """
        if not self.checks.nearby:
            return results
        reference, around = at_point.gradients, nearby_slopes(self.problem, self.seed)
        allowed = agreement.exact_allowance(reference, self.checks.rounding, at_point.rounding)
        skipped = {n: around.is_convention(n, hand, reference[n], allowed[n]) for n, hand in self.hand.items()}
        self.reference = {n: np.where(skipped[n], hand, reference[n]) for n, hand in self.hand.items()}
        return self._with_both_sides(self._compare(self.checks, at_point, skipped))

    def _with_both_sides(self, results: list[ArrayResult]) -> list[ArrayResult]:
        """Return the results at the point; for an array that is wrong only on one side of a kink, the result on that side."""
        sides = []
        for nearby, by_autodiff in self._nearby:
            not_finite = {n: ~np.isfinite(a) for n, a in by_autodiff.gradients.items()}
            sides.append(self._compare(nearby, by_autodiff, not_finite))
        return [
            _decide(result, of_sides, stated=not self.problem.unstated)
            for result, *of_sides in zip(results, *sides, strict=True)
        ]

    @property
    def _on_a_kink(self) -> bool:
        stated = any(kink.side != "none" and bool((kink.distance == 0).any()) for kink in self.kinks)
        return stated or self.checks.jumping

    def _value(self, value: float) -> ArrayResult:
        """Check the number itself: the gradient returned must be the gradient of the number returned."""
        size = max(abs(value), self.checks.differences.noise, agreement.FLOOR)
        wrong = abs(self.loss - value)
        rounded = self.checks.rounding[SCALAR] + self.reference_rounding[SCALAR]
        allowed = agreement.EXACT * size + self.checks.differences.noise + rounded
        cause = "the forward is not the kernel's" if wrong > allowed else ""
        return ArrayResult(
            array="value",
            oracle="autodiff",
            error=wrong / size,
            ulp=wrong / np.spacing(size),
            tolerance=allowed / size,
            compared=1,
            passed=wrong <= allowed,
            worst=WorstElement("the value", self.loss, value, cause),
        )

    def _differences(self) -> OracleResults:
        results = [self.checks.elements(name, "differences") for name in self.problem.at]
        return OracleUse("differences", True, "float64, central, extrapolated", self._scope), results

    def _complex_step(self) -> OracleResults:
        if why := complex_step.obstacle(self.problem):
            return OracleUse("complex step", False, "", f"does not apply: {why}."), []
        results = [self.checks.elements(name, "complex step") for name in self.problem.at]
        return OracleUse("complex step", True, "complex128, step 1e-100", self._scope), results

    @property
    def _scope(self) -> str:
        return scope(self.problem, self.seed)

    def _inner_products(self) -> OracleResults:
        results = [self.checks.inner_products(name) for name in self.problem.at]
        note = f"{DIRECTIONS} random directions in each array, seed {self.seed}, with Taylor remainder order"
        return OracleUse("inner products", True, "float64, central, extrapolated", note), results


def _decide(result: ArrayResult, of_sides: list[ArrayResult], *, stated: bool) -> ArrayResult:
    """Return the result at a point without the elements at kinks, or that of a nearby point where only it fails."""
    wrong = next((side for side in of_sides if not side.passed), None)
    if not (result.passed or wrong or stated) and result.worst and math.isfinite(result.worst.hand):
        return replace(result, worst=replace(result.worst, cause=OUTSIDE))
    if result.passed and wrong is not None:
        return note_nearby_point(wrong)
    if not result.passed or not result.left_out:
        return result
    # elements skipped at the point were compared on a side, unless autodiff has no gradient there either
    silent = min(result.left_out, *(side.left_out for side in of_sides)) if of_sides else result.left_out
    return replace(result, compared=result.compared - silent, aside=result.left_out - silent)


def _not_traced(foreign: str, error: Exception) -> str:
    first = (in_english(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"JAX cannot trace {foreign} ({type(error).__name__}: {first.rstrip('.')}). Write its forward with the array "
        "functions of ops.xp, and without branches on values."
    )
