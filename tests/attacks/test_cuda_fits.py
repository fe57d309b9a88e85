"""A short round of random networks on a simulated GPU, and what the attack takes for a difference."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

import bpengine as bp
from tests.attacks import cuda_fits
from tests.attacks.cuda_fits import Arrays, GpuCase, Make, attack, different, drawn, problem, wrong_numbers
from tests.backends.cuda_host.player import Player, compiler_missing


@pytest.fixture(autouse=True)
def played(request: pytest.FixtureRequest) -> None:
    """Skip where CUDA C cannot be built for the CPU, or fail if CuPy is required."""
    if missing := compiler_missing():
        required = "cupy" in request.config.getoption("--require-backend")
        (pytest.fail if required else pytest.skip)(missing)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [4, 7])
def test_random_networks_train_to_the_same_bits_and_numpys_numbers(seed: int) -> None:
    report = attack(float("inf"), seed, most=2)
    assert report.fits == 2
    assert not report.failures, str(report)


@pytest.mark.parametrize(("times", "name"), [(0.5, "way"), (3.0, "NumPy")])
def test_attack_reports_other_bits_and_other_numbers(times: float, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other bits in one of the ways; numbers that are away from NumPy's in all of them."""
    case, calls = drawn(7, 0), list[int]()
    numbers = {"losses 0": np.array([1.0])}

    def trained(self: GpuCase, backend: object, move: int = 0, **more: object) -> Arrays:
        return {"losses 0": numbers["losses 0"]}

    def played(self: GpuCase, make: Make, **more: object) -> Arrays:
        calls.append(1)
        moved = times * self.least() if name == "NumPy" or len(calls) == 2 else 0.0
        return {"losses 0": numbers["losses 0"] * (1 + moved)}

    monkeypatch.setattr(GpuCase, "trained", trained)
    monkeypatch.setattr(GpuCase, "played", played)
    monkeypatch.setattr(GpuCase, "in_two_threads", lambda self, make: [self.played(make)])
    said = problem(case)
    assert said is not None
    assert ("losses 0 by" in said) == (name == "NumPy"), said
    assert ("losses 0:" in said) == (name == "way"), said


# what a fault does to the text: a pattern, and what stands there instead
PLANTED = {
    "a row left out": (r"const bool ok = i < end;", "const bool ok = i < end - 1;"),
    "a sum of one line less": (r"int s = first; s < count;", "int s = first; s < count - 1;"),
    "the rows of the step before": (r"order\[step \* batch", "order[(step ? step - 1 : 0) * batch"),
}


def small(precision: str, scale: float = 1.0) -> GpuCase:
    """Return a case whose sums take several lines, as the attack may draw it."""
    drawn_one = drawn(7, 0)
    network = bp.Network(4, [bp.Dense(5, "tanh"), bp.LayerNorm(), bp.Dense(3)], "softmax_cross_entropy")
    dtype = "float64" if precision == "float64" else "float32"
    sample = replace(drawn_one.case.sample, network=network, rows=12, weighted=False, soft=False, special=None)
    settings = {"epochs": 2, "batch_size": 32}
    case = replace(drawn_one.case, sample=sample, dtype=dtype, settings=settings, columns=False, many=70, rule=0)
    return replace(
        drawn_one, case=case, precision=precision, scale=scale, fits=1, settings={}, validated=False, rate=0, piece=1
    )


@pytest.mark.parametrize("precision", ["float32", "float64", "tf32", "bfloat16"])
@pytest.mark.parametrize("fault", ["none", *PLANTED])
def test_attack_sees_a_planted_fault_in_every_precision(fault: str, precision: str) -> None:
    plan, changed = small(precision), list[bool]()

    def change(text: str) -> str:
        other = re.sub(*PLANTED[fault], text) if fault in PLANTED else text
        changed.append(other != text)
        return other

    ours = plan.played(lambda: Player(change=change))
    said = wrong_numbers(plan, ours)
    assert "losses 0" in ours or fault == "a row left out"  # its place in memory is NaN
    assert (said is not None) == any(changed) == (fault != "none"), said


def test_attack_sees_denormal_numbers_that_do_not_count_as_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small("float32", scale=1e-39)
    flushed, kept = plan.played(Player), cuda_fits.flushed
    assert wrong_numbers(plan, flushed) is None
    monkeypatch.setattr(cuda_fits, "flushed", nullcontext)
    ours = plan.played(Player)
    monkeypatch.setattr(cuda_fits, "flushed", kept)
    assert different(flushed, ours)
    assert " by " in str(wrong_numbers(plan, ours))
