"""The oracles at work on a problem: which of them apply, at which precision, and what each says of every array."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bpengine.backend import get_oracle
from bpengine.check.kinks.nearby import slopes
from bpengine.check.oracles import complex_step, unstated_kinks
from bpengine.check.oracles.autodiff import Autodiff, autodiff
from bpengine.check.oracles.sampling import DIRECTIONS, Probes
from bpengine.check.problems.problem import Problem
from bpengine.check.reports.results import Verdict, Worst, off_the_kink
from bpengine.check.tolerance import agreement
from bpengine.check.tolerance import stochastic_rounding as rounding
from bpengine.errors import BackendUnavailable
from bpengine.layers.layer import HostArrays

NAMES = ("autodiff", "differences", "complex step", "inner products")


@dataclass(frozen=True)
class OracleUse:
    """Whether an oracle was used, at which precision and on what, or why not and what would help."""

    name: str
    used: bool
    precision: str
    note: str


Said = tuple[OracleUse, list[Verdict]]


class Oracles:
    """One problem before its oracles."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.problem, self.seed = problem, seed
        self.probes = Probes(problem, seed)
        self.kinks, self.loss, self.hand = self.probes.kinks, self.probes.loss, self.probes.hand
        self.reference: HostArrays | None = None  # by autodiff; at unstated kinks the hand-written value
        self.explained: Mapping[str, float] = {}  # by the rounding of that reference
        self._run: Mapping[str, Callable[[], Said]] = dict(
            zip(NAMES, (self._autodiff, self._differences, self._complex_step, self._inner_products), strict=True)
        )

    def run(self, name: str) -> Said:
        """Run one oracle by name."""
        return self._run[name]()

    def _autodiff(self) -> Said:
        try:
            oracle = get_oracle()
        except BackendUnavailable as error:
            return OracleUse("autodiff", False, "", str(error)), []
        try:
            found = self._found()
        except Exception as error:
            if not self.problem.foreign:
                raise
            return OracleUse("autodiff", False, "", _not_traced(self.problem.foreign, error)), []
        self.reference, self.explained = found.gradients, found.explained
        verdicts = self._whole(self.probes, found)
        if self.problem.unstated and not all(v.passed for v in verdicts):
            verdicts = self._at_unstated_kinks(verdicts, found)
        elif self._on_a_kink:
            verdicts = self._with_both_sides(verdicts)
        note = f"{oracle.name}, every element; value {found.value:.6g}"
        return OracleUse("autodiff", True, oracle.precision, note), [*verdicts, self._value(found.value)]

    def _found(self) -> Autodiff:
        """Return what autodiff says; at a kink that nobody states, its rounding is that on its sides as well."""
        found = autodiff(self.problem, self.kinks, jumping=self.probes.jumping)
        beside = [there.explained for _, there in self._both] if self.probes.jumping else []
        most = {name: max(one[name] for one in (found.explained, *beside)) for name in found.explained}
        return replace(found, explained=most)

    @cached_property
    def _both(self) -> list[tuple[Probes, Autodiff]]:
        """What autodiff says a little aside, on both sides of the kinks at the point."""
        return [(beside, autodiff(beside.problem, beside.kinks)) for beside in self.probes.aside]

    def _whole(self, probes: Probes, found: Autodiff, apart: Mapping[str, Any] | None = None) -> list[Verdict]:
        allowed = agreement.exact_allowance(found.gradients, probes.rounding, found.explained)
        return agreement.compare(probes.problem, "autodiff", probes.hand, found.gradients, allowed, apart=apart)

    def _at_unstated_kinks(self, verdicts: list[Verdict], found: Autodiff) -> list[Verdict]:
        """Leave out the elements where the gradient jumps and its value is a convention, once all are right aside.

        An array that is wrong aside is told as it is there. Where autodiff has no gradient even there, as of sqrt(x^2) at
        0, it has nothing to say: the others judge.
        """
        if not self.probes.aside:
            return verdicts
        reference, around = found.gradients, slopes(self.problem, self.seed)
        allowed = agreement.exact_allowance(reference, self.probes.rounding, found.explained)
        apart = {n: around.convention(n, hand, reference[n], allowed[n]) for n, hand in self.hand.items()}
        self.reference = {n: np.where(apart[n], hand, reference[n]) for n, hand in self.hand.items()}
        return self._with_both_sides(self._whole(self.probes, found, apart))

    def _with_both_sides(self, verdicts: list[Verdict]) -> list[Verdict]:
        """Return the verdicts at the point; for an array that is right there and wrong on a side of the kink, that aside."""
        both = []
        for beside, there in self._both:
            both.append(self._whole(beside, there, {n: ~np.isfinite(a) for n, a in there.gradients.items()}))
        return [
            _either(new, aside, stated=not self.problem.unstated) for new, *aside in zip(verdicts, *both, strict=True)
        ]

    @property
    def _on_a_kink(self) -> bool:
        stated = any(kink.side != "none" and bool((kink.distance == 0).any()) for kink in self.kinks)
        return stated or self.probes.jumping

    def sides(self) -> list[Verdict]:
        """Judge the values at kinks that nobody states, whichever oracles are asked for."""
        return unstated_kinks.verdicts(self.probes)

    def _value(self, value: float) -> Verdict:
        """Judge the number itself: the gradient returned must be the gradient of the number returned."""
        size = max(abs(value), self.probes.differences.noise, agreement.FLOOR)
        wrong = abs(self.loss - value)
        rounded = self.probes.rounding[rounding.VALUE] + self.explained[rounding.VALUE]
        allowed = agreement.EXACT * size + self.probes.differences.noise + rounded
        worst = Worst("the value", self.loss, value, "the forward is not the kernel's" if wrong > allowed else "")
        passed = wrong <= allowed
        return Verdict("value", "autodiff", wrong / size, wrong / np.spacing(size), allowed / size, 1, passed, worst)

    def _differences(self) -> Said:
        verdicts = [self.probes.elements(name, "differences") for name in self.problem.at]
        return OracleUse("differences", True, "float64, central, extrapolated", self.probes.scope()), verdicts

    def _complex_step(self) -> Said:
        if why := complex_step.obstacle(self.problem):
            return OracleUse("complex step", False, "", f"does not apply: {why}."), []
        verdicts = [self.probes.elements(name, "complex step") for name in self.problem.at]
        return OracleUse("complex step", True, "complex128, step 1e-100", self.probes.scope()), verdicts

    def _inner_products(self) -> Said:
        verdicts = [self.probes.inner_products(name) for name in self.problem.at]
        note = f"{DIRECTIONS} random directions in each array, seed {self.seed}, with Taylor remainder order"
        return OracleUse("inner products", True, "float64, central, extrapolated", note), verdicts


def _either(new: Verdict, aside: list[Verdict], *, stated: bool) -> Verdict:
    """Return the verdict at a point without the elements at kinks, or one aside where it is the one that fails."""
    wrong = next((verdict for verdict in aside if not verdict.passed), None)
    if not (new.passed or wrong or stated) and new.worst and math.isfinite(new.worst.hand):
        return replace(new, worst=replace(new.worst, cause=unstated_kinks.OUTSIDE))
    if new.passed and wrong is not None:
        return off_the_kink(wrong)
    if not new.passed or not new.left_out:
        return new
    silent = min(new.left_out, *(verdict.left_out for verdict in aside)) if aside else new.left_out
    return replace(new, compared=new.compared - silent, aside=new.left_out - silent)


def _not_traced(foreign: str, error: Exception) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"JAX cannot trace {foreign} ({type(error).__name__}: {first.rstrip('.')}). Write its forward with the array "
        "functions of ops.xp, and without branches on values."
    )
