"""What is right passes: every kernel by its name, layers, kinks, large networks; random ones are in test_properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.check import check_gradients
from bpengine.kernels import KERNELS
from tests.layers.test_own_layer import Gate
from tests.tolerances import oracle_rtol
from tests.training.networks import everything, labelled

DIFFERENTIABLE = [(k.name, options) for k in KERNELS.values() if k.backward for options in k.variants]


@pytest.mark.thorough(keep=16)
@pytest.mark.parametrize(("name", "options"), DIFFERENTIABLE, ids=str)
def test_every_kernel_passes_by_name(name: str, options: Any, jax: Any) -> None:
    report = check_gradients(name, options=options)
    assert report.passed, str(report)
    used = {use.name for use in report.oracles if use.used}
    assert used == {"autodiff", "differences", "inner products", *["complex step"] * KERNELS[name].analytic}
    assert all(v.error <= oracle_rtol() for v in report.verdicts if v.oracle in ("autodiff", "complex step"))
    assert {v.array for v in report.verdicts} == {*KERNELS[name].differentiable, "value"}


@pytest.mark.parametrize(
    "layer",
    [
        bp.Dense(3, "relu"), bp.Dense(2, "selu", bias="column"), bp.BatchNorm(), bp.LayerNorm(), bp.Dropout(0.3),
        bp.Residual([bp.Dense(4, "tanh")]), bp.Activation("gelu"), bp.Layer(), Gate(0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_layers_pass(layer: bp.Layer, rng: Any) -> None:
    report = check_gradients(layer, rng.normal(size=(5, 4)))
    assert report.passed, str(report)
    assert "x" in {v.array for v in report.verdicts}


@pytest.mark.thorough(keep=1)
def test_check_of_every_kind_of_layer_passes_on_every_backend(backend_name: str, rng: Any) -> None:
    model = bp.Model(everything(units=3), backend_name)  # finite differences take time for each element
    report = check_gradients(model, *labelled(rng, 8))
    assert report.passed, str(report)
    assert f"a copy of the float32 model on {backend_name}" in report.precision
    assert {v.array for v in report.verdicts if v.oracle == "own float32"} == set(model.parameters)


@pytest.mark.parametrize("name", ["celu", "elu", "selu"])
def test_a_unit_that_is_flat_for_every_row_passes(name: str, rng: Any, jax: Any) -> None:
    model = bp.Model(bp.Network(3, [bp.Dense(1, name)], "mean_absolute_error"), dtype="float64")
    model.parameters = {"0.weight": np.full((3, 1), -200.0)}
    report = check_gradients(model, rng.uniform(0.5, 1.0, (5, 3)), rng.normal(size=(5, 1)), perturbed=False)
    assert report.passed, str(report)


def test_an_exact_kink_is_judged_by_the_kernels_own_convention(rng: Any, jax: Any) -> None:
    network = bp.Network(2, [bp.Dense(3, "relu"), bp.Dense(2)], "mean_absolute_error", bp.L1(0.1))
    model = bp.Model(network, dtype="float64")
    x = rng.normal(size=(4, 2))
    x[0] = 0.0
    y = model.forward(x)
    report = check_gradients(model, x, y)
    assert report.passed, str(report)
    assert report.kinks.exact >= 3 + y.size
    assert report.kinks.left_out > 0
    assert {v.array for v in report.verdicts if v.oracle == "autodiff"} == {*model.parameters, "x", "value"}


def test_large_logits_do_not_disturb(rng: Any) -> None:
    x = 1e4 * rng.normal(size=(6, 3))
    network = bp.Network(3, [bp.Dense(3)], "softmax_cross_entropy")
    assert not check_gradients(network, x, np.array([0, 1, 2, 0, 1, 2])).failures


@pytest.mark.thorough
def test_a_network_is_drawn_by_the_seed(rng: Any) -> None:
    x, y = labelled(rng, 5)
    losses = [check_gradients(everything(units=3), x, y, seed=s, oracles="inner products").loss for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_large_networks_are_sampled(rng: Any) -> None:
    network = bp.Network(20, [bp.Dense(30, "tanh"), bp.Dense(3)], "mean_squared_error")
    report = check_gradients(network, rng.normal(size=(8, 20)), rng.normal(size=(8, 3)), oracles=["differences"])
    assert report.passed
    sampled = {"0.weight": 8, "0.bias": 8, "1.weight": 8, "1.bias": 3}
    assert {v.array: v.compared for v in report.verdicts} == {**sampled, "x": 160}
    assert "8 elements sampled" in str(report)


def test_underflowing_weights_raise_no_false_alarm(jax: Any) -> None:
    """A compiler takes numbers below the smallest normal one for 0."""
    dense = bp.Dense(3, weight_init=np.full((2, 3), 1e-310))
    report = check_gradients(bp.Network(2, [dense], "softmax_cross_entropy"), np.ones((4, 2)), np.array([0, 1, 2, 0]))
    assert report.passed, str(report)
