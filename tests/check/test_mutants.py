"""Every kernel is broken in turn: the check fails and names it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.check import Report, check_gradients
from bpengine.kernels import KERNELS
from tests.check.mutants import BATCH, WAYS, Mutant, mutants

QUICK = ("inner products", "differences")
LAYERS = {
    "dense": [bp.Dense(4)],
    "dense_no_bias": [bp.Dense(4, bias=False)],
    "dense_bias_column": [bp.Dense(4, bias="column")],
    "dropout": [bp.Dropout(0.4)],
    "batch_norm": [bp.BatchNorm(), bp.Activation("tanh")],
    "layer_norm": [bp.LayerNorm(), bp.Activation("tanh")],
    "add": [bp.Residual([bp.Dense(4, "tanh")])],
}
NOT_IN_TRAINING = "batch_norm_inference"


class Broken(NumpyBackend):
    """NumPy with one kernel's backward replaced by a wrong one."""

    mutant: Mutant

    def replacements(self) -> Any:
        kernel = KERNELS[self.mutant.kernel]
        assert kernel.backward
        right = kernel.backward
        return {right.__name__: self.mutant.broken(lambda *a, **o: right(np, *a, **o))}


def model(mutant: Mutant) -> bp.Model:
    """Return a small network that has the kernel in its middle, or at its end, on the broken backend."""
    kernel = KERNELS[mutant.kernel]
    middle = LAYERS.get(kernel.name, [bp.Activation(kernel.name)] if kernel.kind == "activation" else [])
    loss = kernel.name if kernel.kind == "loss" else "half_sum_squares"
    last = {"probabilities": "softmax" if kernel.target == "classes" else "sigmoid"}
    end = last.get(kernel.output, "identity") if kernel.kind == "loss" else "identity"
    penalties = {"l1": [bp.L1(0.5)], "l2": [bp.L2(0.5)]}.get(kernel.name, [])
    layers = [bp.Dense(4, bias=kernel.name != "dense"), *middle, bp.Dense(4, end, bias=False)]
    if kernel.name in ("dense", "dense_no_bias"):
        layers = [*middle, bp.Activation("tanh"), *middle]
    backend = type("Here", (Broken,), {"mutant": mutant})("float64")
    return bp.Model(bp.Network(4, layers, loss, penalties), backend, "float64", seed=3)


def data(model: bp.Model) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(BATCH, 4))
    kinds = {"values": rng.normal(size=(BATCH, 4)), "classes": np.array([0, 1, 3, 1])}
    return x, kinds.get(model.network.loss.target, (rng.random((BATCH, 4)) < 0.5).astype(float))


def assert_caught(mutant: Mutant, report: Report) -> None:
    assert mutant.alive, "this breaks nothing"
    assert not report.passed
    assert report.guilty is not None
    argument = KERNELS[mutant.kernel].differentiable[mutant.argument]
    assert report.guilty.function == f"{mutant.kernel}_bwd"
    assert report.guilty.argument == f"d{argument}"
    assert f"{mutant.kernel}_bwd" in str(report)


ALL = list(mutants())


@pytest.mark.parametrize("mutant", ALL, ids=lambda m: m.id)
def test_a_broken_kernel_is_caught(mutant: Mutant) -> None:
    kernel, square = KERNELS[mutant.kernel], {"B": BATCH, "I": 4, "O": 4}
    assert kernel.backward
    row = replace(kernel, backward=mutant.broken(kernel.backward))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bpengine.check.kernelproblem.DIMENSIONS", square)
        report = check_gradients(row, oracles=QUICK)
    assert_caught(mutant, report)


@pytest.mark.parametrize("mutant", [m for m in mutants() if m.kernel != NOT_IN_TRAINING], ids=lambda m: m.id)
def test_a_broken_kernel_in_a_network_is_caught(mutant: Mutant) -> None:
    broken = model(mutant)
    report = check_gradients(broken, *data(broken), oracles=QUICK)
    assert_caught(mutant, report)


@pytest.mark.parametrize("name", ["dense", "relu", "batch_norm", "softmax_cross_entropy", "l1"])
def test_autodiff_catches_it(name: str, jax: Any) -> None:
    mutant = Mutant(name, 0, "a lost term")
    broken = model(mutant)
    report = check_gradients(broken, *data(broken))
    assert_caught(mutant, report)
    assert "autodiff" in str(report.guilty)


def test_every_differentiable_kernel_is_broken_in_every_way() -> None:
    every = {(kernel.name, way) for kernel in KERNELS.values() if kernel.backward for way in WAYS}
    assert {(m.kernel, m.way) for m in ALL} == every
