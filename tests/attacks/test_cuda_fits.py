"""A short round of random networks on a simulated GPU, and what the attack takes for a difference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.attacks import cuda_fits
from tests.attacks.cuda_fits import LEAST, UNIT, Arrays, GpuCase, Make, attack, drawn, problem
from tests.backends.cuda_host.player import compiler_missing


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


@pytest.mark.parametrize(("units", "name"), [(0.5, "way"), (3 * LEAST, "NumPy")])
def test_attack_reports_other_bits_and_other_numbers(units: float, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other bits in one of the ways; numbers that are away from NumPy's in all of them."""
    case, calls = drawn(7, 0), list[int]()
    numbers = {"losses 0": np.array([1.0])}

    def trained(self: GpuCase, backend: object, unit: float = 0.0, **more: object) -> Arrays:
        return {"losses 0": numbers["losses 0"] * (1 + unit)}

    def played(self: GpuCase, make: Make, **more: object) -> Arrays:
        calls.append(1)
        moved = units * UNIT[self.precision] if name == "NumPy" or len(calls) == 2 else 0.0
        return {"losses 0": numbers["losses 0"] * (1 + moved)}

    monkeypatch.setattr(cuda_fits, "ROOM", 1.0)
    monkeypatch.setattr(GpuCase, "trained", trained)
    monkeypatch.setattr(GpuCase, "played", played)
    monkeypatch.setattr(GpuCase, "in_two_threads", lambda self, make: [self.played(make)])
    said = problem(case)
    assert said is not None
    assert ("losses 0 by" in said) == (name == "NumPy"), said
    assert ("losses 0:" in said) == (name == "way"), said
