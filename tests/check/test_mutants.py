"""Every kernel is broken in turn: the check fails and names it. The summary of the run tells how many were caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bpengine.kernels import KERNELS
from tests.check.mutants import WAYS, Mutant, check_alone, check_in_network, data, model, mutants

__all__ = ["data", "model"]

ALONE, TRAINED = list(mutants()), list(mutants(trained=True))
QUICKLY = pytest.mark.usefixtures("jax")


@pytest.mark.parametrize("mutant", ALONE, ids=lambda m: m.id)
def test_a_broken_kernel_is_caught(mutant: Mutant, record_property: Callable[..., None]) -> None:
    record_property("mutant", "alone")
    report = check_alone(mutant)
    assert mutant.escaped(report) is None, str(report)
    assert f"{mutant.kernel}_bwd" in str(report)


@pytest.mark.parametrize("mutant", TRAINED, ids=lambda m: m.id)
def test_a_broken_kernel_in_a_network_is_caught(mutant: Mutant, record_property: Callable[..., None]) -> None:
    record_property("mutant", "in a network")
    report = check_in_network(mutant)
    assert mutant.escaped(report) is None, str(report)
    assert f"{mutant.kernel}_bwd" in str(report)


@pytest.mark.parametrize("name", ["dense", "relu", "batch_norm", "softmax_cross_entropy", "l1"])
def test_autodiff_catches_it(name: str, jax: Any) -> None:
    mutant = Mutant(name, 0, "a lost term")
    report = check_in_network(mutant, ("autodiff", "differences"))
    assert mutant.escaped(report) is None, str(report)
    assert "autodiff" in str(report.guilty)


def test_every_differentiable_kernel_is_broken_in_every_way() -> None:
    every = {(kernel.name, way) for kernel in KERNELS.values() if kernel.backward for way in WAYS}
    assert {(m.kernel, m.way) for m in ALONE} == every
