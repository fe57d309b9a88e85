"""The oracles at work on a problem: which of them apply, on how many elements, and what each says of every array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine.backend import get_oracle
from bpengine.check import complexstep, judge, words
from bpengine.check.autodiff import autodiff
from bpengine.check.differences import ENOUGH, EPS, Differences, Estimate, sizes
from bpengine.check.judge import Verdict, Worst
from bpengine.check.problem import Problem
from bpengine.errors import BackendUnavailable
from bpengine.layers.layer import HostArrays

NAMES = ("autodiff", "differences", "complex step", "inner products")
ALL_UP_TO = 256  # elements: with more, SAMPLED of each array are compared one by one
SAMPLED = 8
DIRECTIONS = 3  # of the inner-product test, for each array: the cost does not depend on its size
USELESS = 1e-3  # a difference with a larger possible error, relative, tells nothing


@dataclass(frozen=True)
class OracleUse:
    """Whether an oracle was used, at which precision and on what, or why not and what would help."""

    name: str
    used: bool
    precision: str
    note: str


class Oracles:
    """One problem and everything that the oracles share: the kinks, the noise, the hand-written gradients."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.problem, self.seed = problem, seed
        self.differences = Differences(problem)
        self.loss, self.hand = problem.gradients()
        self.rounding = judge.conditioning(problem, self.differences.kinks, EPS)
        self.sizes = judge.scales(self.hand)
        self.reference: HostArrays | None = None

    def run(self, name: str) -> tuple[OracleUse, list[Verdict]]:
        """Run one oracle by name."""
        return getattr(self, "_" + name.replace(" ", "_"))()  # type: ignore[no-any-return]

    def _autodiff(self) -> tuple[OracleUse, list[Verdict]]:
        try:
            oracle = get_oracle()
        except BackendUnavailable as error:
            return OracleUse("autodiff", False, "", str(error)), []
        value, self.reference = autodiff(self.problem, self.differences.kinks)
        allowed = judge.exact_allowance(self.reference, self.rounding)
        verdicts = judge.compare(self.problem, "autodiff", self.hand, self.reference, allowed)
        note = f"{oracle.name}, every element; value {value:.6g}"
        return OracleUse("autodiff", True, oracle.precision, note), [*verdicts, self._value(value)]

    def _value(self, value: float) -> Verdict:
        """Judge the number itself: the gradient returned must be the gradient of the number returned."""
        size = max(abs(value), judge.FLOOR)
        wrong = abs(self.loss - value)
        allowed = 1e-12 * size + self.differences.noise
        worst = Worst("the value", self.loss, value, "the forward is not the kernel's" if wrong > allowed else "")
        passed = wrong <= allowed
        return Verdict("value", "autodiff", wrong / size, wrong / np.spacing(size), allowed / size, 1, passed, worst)

    def _differences(self) -> tuple[OracleUse, list[Verdict]]:
        verdicts = [self._each(name, "differences") for name in self.problem.at]
        return OracleUse("differences", True, "float64, central, extrapolated", self._scope()), verdicts

    def _complex_step(self) -> tuple[OracleUse, list[Verdict]]:
        if why := complexstep.obstacle(self.problem):
            return OracleUse("complex step", False, "", f"does not apply: {why}."), []
        verdicts = [self._each(name, "complex step") for name in self.problem.at]
        return OracleUse("complex step", True, "complex128, step 1e-100", self._scope()), verdicts

    def _inner_products(self) -> tuple[OracleUse, list[Verdict]]:
        verdicts = [self._random(name) for name in self.problem.at]
        note = f"{DIRECTIONS} random directions in each array, seed {self.seed}, with Taylor remainder order"
        return OracleUse("inner products", True, "float64, central, extrapolated", note), verdicts

    def _scope(self) -> str:
        total = sum(a.size for a in self.problem.at.values())
        return (
            "every element" if total <= ALL_UP_TO else f"{SAMPLED} elements sampled from each array, seed {self.seed}"
        )

    def _each(self, name: str, oracle: str) -> Verdict:
        """Judge elements one by one."""
        shape, results = self.hand[name].shape, []
        for index in self._elements(name):
            step = np.zeros(shape)
            step[index] = 1.0
            named = words.element(name, index, shape, self.problem.bias_rows.get(name))
            size = float(sizes(self.problem.at[name])[index])
            found = self._derivative(name, step, size, oracle)
            results.append((named, index, float(self.hand[name][index]), found, self.sizes[name], size))
        return self._collect(name, oracle, results)

    def _derivative(self, name: str, step: Any, size: float, oracle: str) -> Estimate:
        if oracle == "complex step":
            value = complexstep.along(self.problem, {name: step})
            return Estimate(value, judge.EXACT * self.sizes[name] + 16.0 * self.rounding[name])
        found = self.differences.along({name: size * step}, size * self.sizes[name])
        return Estimate(found.value / size, found.error / size, found.rungs)

    def _random(self, name: str) -> Verdict:
        """Judge inner products of the gradient with random directions; the remainder's order confirms each."""
        results, orders = [], []
        unit, hand = sizes(self.problem.at[name]), self.hand[name]
        for k, signs in enumerate(self._signs(name)):
            v = unit * signs
            slope, size = float(np.sum(hand * v)), max(float(np.linalg.norm(hand * v)), self.sizes[name] * unit.min())
            found = self.differences.along({name: v}, size, all_rungs=k == 0)
            if k == 0 and not found.left_out:
                orders.append(self.differences.remainder_order(found, slope))
            results.append((f"{name} along random direction {k}", None, slope, found, size, 1.0))
        return replace(self._collect(name, "inner products", results), order=next(iter(orders), None))

    def _signs(self, name: str) -> Iterator[Any]:
        rng = np.random.default_rng([self.seed, sorted(self.problem.at).index(name)])
        for _ in range(DIRECTIONS):
            yield rng.choice([-1.0, 1.0], self.problem.at[name].shape)

    def _elements(self, name: str) -> list[tuple[int, ...]]:
        array = self.problem.at[name]
        flat = np.arange(array.size)
        if sum(a.size for a in self.problem.at.values()) > ALL_UP_TO and array.size > SAMPLED:
            rng = np.random.default_rng([self.seed, sorted(self.problem.at).index(name), 1])
            flat = np.sort(rng.choice(flat, SAMPLED, replace=False))
            flat[0] = int(np.argmax(np.abs(self.hand[name])))  # the element that counts most is always among them
        return [tuple(int(i) for i in np.unravel_index(int(k), array.shape)) for k in flat]

    def _collect(self, name: str, oracle: str, results: list[Any]) -> Verdict:
        """Put results (words, index, hand, estimate, size, unit) together; those that tell nothing are counted, not judged."""
        results = [(*r[:4], max(r[4], 0.0 if r[3].left_out else abs(r[3].value)), r[5]) for r in results]
        told = [r for r in results if not r[3].left_out and self._tells(*r[2:])]
        left_out = sum(r[3].left_out for r in results)
        scored = []
        for i, (_, _, hand, estimate, size, _) in enumerate(told):
            scored.append((abs(hand - estimate.value) / size, self._allowed(oracle, estimate, size) / size, i))
        error, tolerance, i = max(scored, key=lambda s: s[0] / s[1], default=(0.0, 0.0, -1))
        passed = error <= tolerance
        worst = None
        if scored:
            named, _, hand, estimate, *_ = told[i]
            looks = (
                "" if passed else words.cause(np.array([hand]), np.array([estimate.value]), (0,), self.problem.counts)
            )
            worst = Worst(named, hand, estimate.value, looks)
        ill = len(results) - len(told) - left_out
        ulp = error / float(np.finfo(np.float64).eps)
        return Verdict(name, oracle, error, ulp, tolerance, len(told), passed, worst, None, left_out, ill)

    def _tells(self, hand: float, estimate: Estimate, size: float, unit: float) -> bool:
        """Tell whether an estimate says anything: its error is small beside the gradients, or beside the value itself."""
        least = max(size, USELESS * abs(self.loss) / unit)
        return estimate.error <= USELESS * least or estimate.value == hand == 0.0

    def _allowed(self, oracle: str, estimate: Estimate, size: float) -> float:
        return estimate.error if oracle == "complex step" else 8.0 * estimate.error + 10.0 * ENOUGH * size
