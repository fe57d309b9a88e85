"""Every kernel is broken in turn: the check fails and names it. The summary of the run tells how many were caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bpengine.kernels import KERNELS
from tests.check.mutants import (
    FORGETS,
    WAYS,
    Forgetful,
    Forgets,
    Mutant,
    check_alone,
    check_forgetful,
    check_forgets,
    check_forgets_in_network,
    check_in_network,
    data,
    forgetful_mutants,
    layer_escaped,
    model,
    mutants,
)

__all__ = ["data", "model"]

ALONE, TRAINED, FORGETFUL = list(mutants()), list(mutants(trained=True)), list(forgetful_mutants())
QUICKLY = pytest.mark.usefixtures("jax")


@pytest.mark.thorough(keep=50)
@pytest.mark.parametrize("mutant", ALONE, ids=lambda m: m.id)
def test_a_broken_kernel_is_caught(mutant: Mutant, record_property: Callable[..., None]) -> None:
    record_property("mutant", "alone")
    report = check_alone(mutant)
    assert mutant.escaped(report) is None, str(report)
    assert f"{mutant.kernel}_bwd" in str(report)


@pytest.mark.thorough(keep=8)
@pytest.mark.parametrize("mutant", TRAINED, ids=lambda m: m.id)
def test_a_broken_kernel_in_a_network_is_caught(mutant: Mutant, record_property: Callable[..., None]) -> None:
    record_property("mutant", "in a network")
    report = check_in_network(mutant)
    assert mutant.escaped(report) is None, str(report)
    assert f"{mutant.kernel}_bwd" in str(report)


@pytest.mark.thorough(keep=16)
@pytest.mark.parametrize("mutant", FORGETFUL, ids=lambda m: m.id)
def test_a_kernel_that_forgets_a_parameter_is_caught(mutant: Forgetful, record_property: Callable[..., None]) -> None:
    """At the point given the parameter has the value that it is taken for: nothing is wrong there."""
    record_property("mutant", "forgetful alone")
    report = check_forgetful(mutant)
    assert mutant.escaped(report) is None, str(report)


@pytest.mark.thorough(keep=8)
@pytest.mark.parametrize("check", [check_forgets, check_forgets_in_network], ids=["alone", "in a network"])
@pytest.mark.parametrize("layer", FORGETS, ids=lambda f: f"{type(f.layer).__name__}-{f.parameter}-{f.value:g}")
def test_a_layer_that_forgets_a_parameter_is_caught(
    layer: Forgets, check: Callable[..., Any], record_property: Callable[..., None]
) -> None:
    record_property("mutant", f"forgetful layers {'alone' if check is check_forgets else 'in a network'}")
    report = check(layer)
    assert layer_escaped(report) is None, str(report)


def test_every_parameter_and_option_that_matters_is_forgotten() -> None:
    forgotten = {(m.kernel, m.parameter) for m in FORGETFUL}
    silent = {("dense", "b"), ("dense_transposed", "b")}
    silent |= {("batch_norm", "beta"), ("batch_norm_inference", "beta"), ("layer_norm", "beta")}
    linear = {("dropout", "x"), ("add", "a"), ("add", "b"), ("identity", "x"), ("hard_sigmoid", "x")}
    every = {
        (kernel.name, name)
        for kernel in KERNELS.values()
        if kernel.backward
        for name in (*kernel.differentiable, *(n for n, v in kernel.options.items() if isinstance(v, float)))
    }
    assert every - forgotten == silent | linear  # no gradient depends on these, near 0 and 1


@pytest.mark.parametrize("name", ["dense", "relu", "batch_norm", "softmax_cross_entropy", "l1"])
def test_autodiff_detects_a_broken_kernel_and_names_it(name: str, jax: Any) -> None:
    mutant = Mutant(name, 0, "a lost term")
    report = check_in_network(mutant, ("autodiff", "differences"))
    assert mutant.escaped(report) is None, str(report)
    assert "autodiff" in str(report.guilty)


def test_every_differentiable_kernel_is_broken_in_every_way() -> None:
    every = {(kernel.name, way) for kernel in KERNELS.values() if kernel.backward for way in WAYS}
    assert {(m.kernel, m.way) for m in ALONE} == every
