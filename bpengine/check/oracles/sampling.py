"""Sampled and directional checks: chosen elements of each gradient, and inner products with it, collected into a result."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from bpengine.check.describe.error_patterns import error_pattern, fitting
from bpengine.check.kinks.kinks import any_undecided, off_kink_shifts
from bpengine.check.kinks.nearby import nearby_points
from bpengine.check.kinks.ops import OffKinkOps, output_changes
from bpengine.check.oracles import complex_step
from bpengine.check.oracles.finite_differences import EPS, Estimate, FiniteDifferences
from bpengine.check.oracles.gradient_sample import GradientSample, random_signs, sampled_elements
from bpengine.check.problems.problem import Problem, step_sizes
from bpengine.check.reports.results import ArrayResult, WorstElement, note_nearby_point
from bpengine.check.tolerance import agreement
from bpengine.check.tolerance.stochastic_rounding import with_distance_noise
from bpengine.ops import Ops
from bpengine.streams import stream

USELESS = 1e-3  # a difference whose relative error may be larger is uninformative


class SampledChecks:
    """A problem at its point with its measurements, and the same at nearby points where these are needed."""

    def __init__(self, problem: Problem, seed: int, *, near_a_kink: bool = False) -> None:
        self.problem, self.seed, self._near_a_kink = problem, seed, near_a_kink
        self.differences = FiniteDifferences(problem)
        self.kinks = with_distance_noise(problem, self.differences.kinks, EPS)
        self.loss, self.hand = problem.gradients()
        self.rounding = self._rounding()
        self.sizes = agreement.scales(problem, self.hand)

    def _rounding(self) -> dict[str, float]:
        """Return how far rounding moves each gradient; at a kink that no kernel states, at the nearby points as well."""
        points = [agreement.hand_rounding(self.problem, EPS, self._off_kink_ops, jumping=self.jumping)]
        if self.jumping:
            points += [nearby.rounding for nearby in self.nearby]
        return {name: max(one[name] for one in points) for name in points[0]}

    def _off_kink_ops(self) -> Ops:
        if not any_undecided(self.kinks, EPS):
            return Ops(np)
        shifts = off_kink_shifts(self.kinks, EPS, -1.0)
        return OffKinkOps(np, shifts, output_changes(lambda ops: self.problem.value(ops, self.problem.at), shifts))

    @cached_property
    def jumping(self) -> bool:
        """Whether the point lies at a kink that no kernel states: a rounding makes the gradient jump there."""
        return self.problem.unstated and not self._near_a_kink and self.at_a_kink

    @cached_property
    def nearby(self) -> list[SampledChecks]:
        """The same checks at nearby points on both sides of every kink; at one or none where the function is not finite."""
        return [SampledChecks(moved, self.seed, near_a_kink=True) for moved in nearby_points(self.problem, self.seed)]

    def elements(self, name: str, oracle: str) -> ArrayResult:
        """Check elements of an array one by one."""
        chosen = sampled_elements(self.problem, name, self.hand[name], self.seed)
        return self._collect(name, oracle, (self._or_nearby("element", name, index, oracle) for index in chosen))

    def inner_products(self, name: str) -> ArrayResult:
        """Check inner products of an array's gradient with random directions; the remainder's order confirms the first."""
        directions = enumerate(random_signs(self.problem, name, self.seed))
        samples = [self._or_nearby("product", name, k, signs) for k, signs in directions]
        return replace(self._collect(name, "inner products", samples), order=samples[0].order)

    def element(self, name: str, index: tuple[int, ...], oracle: str) -> GradientSample:
        """Check one element by differences or the complex step."""
        step, array = np.zeros(self.hand[name].shape), self.problem.at[name]
        step[index] = 1.0
        size = float(step_sizes(array)[index])
        if oracle == "complex step":
            value = complex_step.along(self.problem, {name: step})
            estimate = Estimate(value, agreement.EXACT * self.sizes[name] + self.rounding[name])
        else:
            along = self.differences.along({name: size * step}, size * self.sizes[name])
            # the rounding error of the slope itself does not fall with the step, so comparing two steps does not reveal it
            rounded = min(self.rounding[name], EPS)
            estimate = Estimate(along.value / size, along.error / size + rounded, along.rungs)
        return GradientSample(
            element=agreement.named_element(self.problem, name, index),
            hand=float(self.hand[name][index]),
            estimate=estimate,
            large=self.sizes[name],
            unit=size,
            index=index,
        )

    def product(self, name: str, k: int, signs: object) -> GradientSample:
        """Return the inner product with one direction; for the first direction also the order of the Taylor remainder."""
        unit, hand = step_sizes(self.problem.at[name]), self.hand[name]
        v = unit * signs
        slope = float(np.sum(hand * v))
        large = max(float(np.nan_to_num(np.linalg.norm(hand * v))), self.sizes[name] * float(unit.min()))
        along = self.differences.along({name: v}, large, all_rungs=k == 0)
        order = self.differences.remainder_order(along, slope) if k == 0 and not along.left_out else None
        label = f"{name} along random direction {k}"
        return GradientSample(element=label, hand=slope, estimate=along, large=large, unit=1.0, order=order)

    def _or_nearby(self, kind: str, *what: Any) -> GradientSample:
        """Check at the point; if a kink prevents that, at a nearby point. A non-finite gradient still fails.

        Kinks whose bends cancel along a line are not detected on that line, yet the slope along it need not agree with any
        convention.
        """
        sample: GradientSample = getattr(self, kind)(*what)
        stopped = sample.estimate.left_out
        if not stopped and (self._agrees(sample) or not self.at_a_kink):
            return sample
        around: list[GradientSample] = [getattr(nearby, kind)(*what) for nearby in self.nearby]
        taken = [s for s in around if not s.estimate.left_out]
        # a right backward agrees on both sides of the kink, so one side that disagrees decides
        moved = next((s for s in taken if not self._agrees(s)), (taken or around or [sample])[0])
        if not stopped and not self._agrees(moved):
            return sample
        return replace(moved, hand=moved.hand if math.isfinite(sample.hand) else sample.hand, left_out=True)

    @cached_property
    def at_a_kink(self) -> bool:
        """Whether the point lies at a kink: along a line that moves every element, the function is bent."""
        rng = stream("check bend", self.seed)
        across = {name: rng.uniform(-1.0, 1.0, a.shape) * step_sizes(a) for name, a in self.problem.at.items()}
        return self.differences.along(across).left_out

    def _collect(self, name: str, oracle: str, samples: Iterable[GradientSample]) -> ArrayResult:
        """Collect samples into a result; those that are uninformative are counted, not compared."""
        every = list(samples)
        taken = [s for s in every if not s.estimate.left_out]
        compared, stopped = [s for s in taken if self._informative(s)], [s for s in every if s.left_out]
        errors, limits = [s.error for s in compared], [s.limit for s in compared]
        i = max(range(len(compared)), key=lambda i: errors[i] / limits[i], default=None)
        error, tolerance = (0.0, 0.0) if i is None else (errors[i], limits[i])
        result = ArrayResult(
            array=name,
            oracle=oracle,
            error=error,
            ulp=error / EPS,
            tolerance=tolerance,
            compared=len(compared),
            passed=error <= tolerance,
            worst=None if i is None else self._worst(name, compared, i, passed=error <= tolerance),
            left_out=len(stopped),
            ill=len(taken) - len(compared),
            aside=sum(not s.estimate.left_out for s in stopped),
            elements=tuple(s.element for s in stopped[: agreement.NAMED]),
        )
        was_moved = i is not None and compared[i].left_out
        return agreement.mark_uninformative(note_nearby_point(result) if was_moved else result)

    def _worst(self, name: str, compared: list[GradientSample], i: int, *, passed: bool) -> WorstElement:
        hand, reference = np.array([s.hand for s in compared]), np.array([s.estimate.value for s in compared])
        arguments = {} if passed else self._arguments_at(name, [s.index for s in compared])
        pattern = "" if passed else error_pattern(hand, reference, (i,), self.problem.counts, name, arguments)
        return WorstElement(compared[i].element, compared[i].hand, compared[i].estimate.value, pattern)

    def _arguments_at(self, name: str, indices: list[tuple[int, ...] | None]) -> dict[str, Any]:
        """Return the values at these elements, from each array that can be broadcast to the gradient's shape."""
        if None in indices:
            return {}
        fitted = fitting(self.problem.at[name].shape, self.problem.at)
        return {other: np.array([array[index] for index in indices]) for other, array in fitted}

    def _agrees(self, sample: GradientSample) -> bool:
        return sample.error <= sample.limit or not self._informative(sample)

    def _informative(self, sample: GradientSample) -> bool:
        """Tell whether an estimate can reveal an error: its own error is small relative to the gradients, or to the value."""
        least = max(sample.scale, USELESS * abs(self.loss) / sample.unit)
        return sample.estimate.error <= USELESS * least or sample.estimate.value == sample.hand == 0.0
