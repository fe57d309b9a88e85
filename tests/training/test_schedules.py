"""Learning-rate schedules against their formulas, step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bpengine as bp
from bpengine.training.optimizers import make_optimizer
from tests.tolerances import value_rtol

STEPS = np.arange(12)
EXPECTED = [
    (bp.Constant(0.3), lambda s: 0.3),
    (bp.StepDecay(0.8, every=3, factor=0.5), lambda s: 0.8 * 0.5 ** (s // 3)),
    (bp.Exponential(0.8, every=4, factor=0.5), lambda s: 0.8 * 0.5 ** (s / 4)),
    (bp.Cosine(1.0, 10, final=0.2), lambda s: 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * min(s / 10, 1)))),
    (bp.WarmUp(4, 0.5), lambda s: 0.5 * min((s + 1) / 5, 1)),
    (bp.WarmUp(2, bp.StepDecay(0.6, every=5)), lambda s: 0.6 * 0.5 ** (max(s - 2, 0) // 5) * min((s + 1) / 3, 1)),
]


@pytest.mark.parametrize(("schedule", "formula"), EXPECTED, ids=lambda v: type(v).__name__)
def test_every_schedule_follows_its_formula(schedule: object, formula: object) -> None:
    np.testing.assert_allclose(schedule(STEPS), [formula(int(s)) for s in STEPS], rtol=value_rtol(float))


def test_function_of_the_step_number_is_a_schedule() -> None:
    schedule = bp.SGD(lambda step: 0.1 / (step + 1)).schedule
    np.testing.assert_array_equal(schedule(STEPS), 0.1 / (STEPS + 1))


def test_a_number_is_a_constant_and_a_name_has_its_default() -> None:
    assert bp.Adam(0.002).schedule == bp.Constant(0.002)
    assert make_optimizer("adam").schedule == bp.Constant(1e-3)
    assert make_optimizer("sgd").schedule == bp.Constant(1e-2)


@pytest.mark.parametrize(
    "build", [lambda: bp.WarmUp(0, 0.1), lambda: bp.WarmUp(3, -0.1), lambda: bp.StepDecay(0.1, 2, -1)]
)
def test_invalid_schedules_are_refused(build: object) -> None:
    with pytest.raises(bp.ConfigError, match=r"requires (a|steps)"):
        build()
