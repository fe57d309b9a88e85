"""Probes of a problem: chosen elements of each gradient and inner products with it, put together to a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from bpengine.check.describe import error_patterns
from bpengine.check.kinks import kinks
from bpengine.check.kinks.nearby import aside, sizes
from bpengine.check.kinks.ops import Shifted, corrections, with_noise
from bpengine.check.oracles import complex_step
from bpengine.check.oracles.finite_differences import EPS, Differences, Estimate
from bpengine.check.oracles.sample import Probe
from bpengine.check.problems.problem import Problem
from bpengine.check.reports.results import Verdict, Worst, off_the_kink
from bpengine.check.tolerance import agreement
from bpengine.ops import Ops
from bpengine.streams import stream

ALL_UP_TO = 256  # elements: with more, SAMPLED of each array are compared one by one
SAMPLED = 8
DIRECTIONS = 3  # of the inner-product test, for each array: the cost does not depend on its size
USELESS = 1e-3  # a difference with a larger possible error, relative, tells nothing


class Probes:
    """A problem at its point, what is known of it there, and the same a little aside, where that is needed."""

    def __init__(self, problem: Problem, seed: int, *, beside: bool = False) -> None:
        self.problem, self.seed, self._beside_a_kink = problem, seed, beside
        self.differences = Differences(problem)
        self.kinks = with_noise(problem, self.differences.kinks, EPS)
        self.loss, self.hand = problem.gradients()
        self.rounding = self._rounding()
        self.sizes = agreement.scales(problem, self.hand)

    def _rounding(self) -> dict[str, float]:
        """Return what rounding explains; at a kink that nobody states, what it explains on its sides as well."""
        found = [agreement.conditioning(self.problem, EPS, self._off_the_kinks, jumping=self.jumping)]
        if self.jumping:
            found += [beside.rounding for beside in self.aside]
        return {name: max(one[name] for one in found) for name in found[0]}

    def _off_the_kinks(self) -> Ops:
        if not kinks.ambiguous(self.kinks, EPS):
            return Ops(np)
        amounts = kinks.shifts(self.kinks, EPS, -1.0)
        return Shifted(np, amounts, corrections(lambda ops: self.problem.value(ops, self.problem.at), amounts))

    @cached_property
    def jumping(self) -> bool:
        """Whether the point lies at a kink that nobody states: a rounding makes the gradient jump there."""
        return self.problem.unstated and not self._beside_a_kink and self.at_a_kink

    @cached_property
    def aside(self) -> list[Probes]:
        """The same a little aside, on both sides of every kink; on one or none where the function is not finite there."""
        return [Probes(moved, self.seed, beside=True) for moved in aside(self.problem, self.seed)]

    def elements(self, name: str, oracle: str) -> Verdict:
        """Judge elements of an array one by one."""
        chosen = self._chosen(name)
        return self._collect(name, oracle, (self._or_aside("element", name, index, oracle) for index in chosen))

    def inner_products(self, name: str) -> Verdict:
        """Judge inner products of an array's gradient with random directions; the remainder's order confirms the first."""
        probes = [self._or_aside("product", name, k, signs) for k, signs in enumerate(self._signs(name))]
        return replace(self._collect(name, "inner products", probes), order=probes[0].order)

    def scope(self) -> str:
        """Say which elements are compared one by one."""
        names = [name for name in self.problem.at if not self._every(name)]
        sampled = (
            f"{SAMPLED} elements sampled from {'each array' if len(names) > 1 else names[0]}, seed {self.seed}"
            if names
            else ""
        )
        whole = len(names) < len(self.problem.at)
        return ", ".join(
            filter(None, ["every element" if not names else "every other element" if whole else "", sampled])
        )

    def element(self, name: str, index: tuple[int, ...], oracle: str) -> Probe:
        """Return one element, by differences or the complex step."""
        step, array = np.zeros(self.hand[name].shape), self.problem.at[name]
        step[index] = 1.0
        size = float(sizes(array)[index])
        if oracle == "complex step":
            value = complex_step.along(self.problem, {name: step})
            found = Estimate(value, agreement.EXACT * self.sizes[name] + self.rounding[name])
        else:
            told = self.differences.along({name: size * step}, size * self.sizes[name])
            # what rounding does to the slope itself does not fall with the step, and no two steps show it
            beside = min(self.rounding[name], EPS)
            found = Estimate(told.value / size, told.error / size + beside, told.rungs)
        named = agreement.named_element(self.problem, name, index)
        return Probe(named, float(self.hand[name][index]), found, self.sizes[name], size, index=index)

    def product(self, name: str, k: int, signs: Any) -> Probe:
        """Return the inner product with one direction; of the first, the order of the Taylor remainder."""
        unit, hand = sizes(self.problem.at[name]), self.hand[name]
        v = unit * signs
        slope = float(np.sum(hand * v))
        large = max(float(np.nan_to_num(np.linalg.norm(hand * v))), self.sizes[name] * float(unit.min()))
        found = self.differences.along({name: v}, large, all_rungs=k == 0)
        order = self.differences.remainder_order(found, slope) if k == 0 and not found.left_out else None
        return Probe(f"{name} along random direction {k}", slope, found, large, 1.0, order)

    def _or_aside(self, kind: str, *what: Any) -> Probe:
        """Return a probe at the point; where a kink is in the way, the one aside, unless the gradient is not even finite.

        Kinks that happen to cancel along a line do not show there, yet no convention need agree with its slope.
        """
        probe: Probe = getattr(self, kind)(*what)
        stopped = probe.estimate.left_out
        if not stopped and (self._agrees(probe) or not self.at_a_kink):
            return probe
        around: list[Probe] = [getattr(there, kind)(*what) for there in self.aside]
        made = [p for p in around if not p.estimate.left_out]
        beside = next((p for p in made if not self._agrees(p)), (made or around or [probe])[0])
        if not stopped and not self._agrees(beside):
            return probe
        return replace(beside, hand=beside.hand if math.isfinite(probe.hand) else probe.hand, left_out=True)

    @cached_property
    def at_a_kink(self) -> bool:
        """Whether the point lies at a kink: a line into all dimensions at once is bent."""
        rng = stream("check bend", self.seed)
        across = {name: rng.uniform(-1.0, 1.0, a.shape) * sizes(a) for name, a in self.problem.at.items()}
        return self.differences.along(across).left_out

    def _signs(self, name: str) -> Iterator[Any]:
        rng = stream("check directions", self.seed, sorted(self.problem.at).index(name))
        for _ in range(DIRECTIONS):
            yield rng.choice([-1.0, 1.0], self.problem.at[name].shape)

    def _every(self, name: str) -> bool:
        """Tell whether every element of an array is compared, and not a sample."""
        among = sum(self.problem.at[n].size for n in self.problem.fellows(name))
        return among <= ALL_UP_TO or self.problem.at[name].size <= SAMPLED

    def _chosen(self, name: str) -> list[tuple[int, ...]]:
        array = self.problem.at[name]
        flat = np.arange(array.size)
        if not self._every(name):
            rng = stream("check elements", self.seed, sorted(self.problem.at).index(name))
            flat = np.sort(rng.choice(flat, SAMPLED, replace=False))
            flat[0] = int(np.argmax(np.abs(self.hand[name])))  # the element that counts most is always among them
        return [tuple(int(i) for i in np.unravel_index(int(k), array.shape)) for k in flat]

    def _collect(self, name: str, oracle: str, given: Iterable[Probe]) -> Verdict:
        """Put probes together; those that tell nothing are counted, not judged."""
        probes = list(given)
        made = [p for p in probes if not p.estimate.left_out]
        told, stopped = [p for p in made if self._tells(p)], [p for p in probes if p.left_out]
        errors, limits = [p.error for p in told], [p.limit for p in told]
        i = max(range(len(told)), key=lambda i: errors[i] / limits[i], default=None)
        error, tolerance = (0.0, 0.0) if i is None else (errors[i], limits[i])
        aside = sum(not p.estimate.left_out for p in stopped)
        worst = None if i is None else self._worst(name, told, i, passed=error <= tolerance)
        named, ill = tuple(p.element for p in stopped[: agreement.NAMED]), len(made) - len(told)
        verdict = Verdict(
            name, oracle, error, error / EPS, tolerance, len(told), error <= tolerance, worst, None, len(stopped), ill, aside,
            named,
        )  # fmt: skip
        return agreement.worth(off_the_kink(verdict) if i is not None and told[i].left_out else verdict)

    def _worst(self, name: str, told: list[Probe], i: int, *, passed: bool) -> Worst:
        hand, reference = np.array([p.hand for p in told]), np.array([p.estimate.value for p in told])
        beside = {} if passed else self._beside(name, [p.index for p in told])
        looks = "" if passed else error_patterns.cause(hand, reference, (i,), self.problem.counts, name, beside)
        return Worst(told[i].element, told[i].hand, told[i].estimate.value, looks)

    def _beside(self, name: str, indices: list[tuple[int, ...] | None]) -> dict[str, Any]:
        """Return the numbers that stand beside the elements in each array that fits the shape of theirs."""
        shape, found = self.problem.at[name].shape, {}
        if None in indices:
            return {}
        for other, array in error_patterns.fitting(shape, self.problem.at):
            found[other] = np.array([array[index] for index in indices])
        return found

    def _agrees(self, probe: Probe) -> bool:
        return probe.error <= probe.limit or not self._tells(probe)

    def _tells(self, probe: Probe) -> bool:
        """Tell whether an estimate says anything: its error is small beside the gradients, or beside the value itself."""
        least = max(probe.scale, USELESS * abs(self.loss) / probe.unit)
        return probe.estimate.error <= USELESS * least or probe.estimate.value == probe.hand == 0.0
