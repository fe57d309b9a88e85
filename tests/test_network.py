"""Whole networks: hand-written gradients against autodiff, and what a network refuses."""

from __future__ import annotations

import numpy as np
import pytest

import bpengine as bp
from bpengine.check import autodiff_gradients, largest_difference
from bpengine.kernels import KERNELS
from tests.tolerances import agreement_rtol, oracle_rtol
from tests.training.networks import everything, labelled, xor_221

ACTIVATIONS = [name for name, k in KERNELS.items() if k.kind == "activation" and k.backward]
LOSSES = [(name, reduction) for name, k in KERNELS.items() if k.kind == "loss" for reduction in k.reductions]


def check(network: bp.Network, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, name: str) -> None:
    model = bp.Model(network, name, "float64", seed=3)
    loss, gradients = model.loss_and_gradients(x, y, weights)
    reference, expected = autodiff_gradients(network, model.parameters, model.running, x, y, weights, seed=3)
    assert gradients.keys() == model.parameters.keys()
    assert loss == pytest.approx(reference, rel=oracle_rtol())
    assert largest_difference(gradients, expected) <= oracle_rtol()


@pytest.mark.thorough(keep=1)
def test_gradients_through_every_kind_of_layer_agree_with_autodiff(
    backend_name: str, rng: np.random.Generator, jax: object
) -> None:
    x, y = labelled(rng)
    check(everything(), x, y, rng.uniform(0.5, 2.0, len(x)), backend_name)


@pytest.mark.thorough(keep=10)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_through_every_activation_agree_with_autodiff(
    activation: str, backend_name: str, rng: np.random.Generator, jax: object
) -> None:
    network = bp.Network(4, [bp.Dense(6, activation), bp.Dense(5, activation), bp.Dense(2)], "mean_squared_error")
    check(network, rng.normal(size=(7, 4)), rng.normal(size=(7, 2)), None, backend_name)


@pytest.mark.thorough(keep=25)
@pytest.mark.parametrize(("loss", "reduction"), LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_of_every_loss_agree_with_autodiff(
    loss: str, reduction: str, weighted: bool, backend_name: str, rng: np.random.Generator, jax: object
) -> None:
    kernel = KERNELS[loss]
    last = {"probabilities": "softmax" if kernel.target == "classes" else "sigmoid"}.get(kernel.output, "identity")
    network = bp.Network(4, [bp.Dense(6, "tanh"), bp.Dense(3, last)], bp.Loss(loss, reduction))
    x = rng.normal(size=(8, 4))
    targets = {
        "classes": rng.integers(0, 3, 8),
        "binary": rng.integers(0, 2, (8, 3)),
        "values": rng.normal(size=(8, 3)),
    }
    check(network, x, targets[kernel.target], rng.uniform(0.1, 2.0, 8) if weighted else None, backend_name)


def test_float32_gradients_agree_with_the_float64_oracle(
    backend_name: str, rng: np.random.Generator, jax: object
) -> None:
    x, y = labelled(rng, rows=256)
    network = bp.Network(5, [bp.Dense(64, "relu"), bp.Dense(3)], "softmax_cross_entropy")
    model = bp.Model(network, backend_name, "float32")
    _, gradients = model.loss_and_gradients(x.astype(np.float32), y)
    assert {g.dtype for g in gradients.values()} == {np.dtype("float32")}
    _, expected = autodiff_gradients(network, model.parameters, model.running, x.astype(np.float32), y)
    assert largest_difference(gradients, expected) <= agreement_rtol(np.float32, len(x))


def test_the_penalty_leaves_the_bias_row_out(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(4, 2)), rng.integers(0, 2, (4, 1))
    plain, penalised = (
        bp.Network(2, xor_221().layers, bp.Loss("binary_cross_entropy", "batch_mean"), penalties)
        for penalties in ((), bp.L2(3.0, per_sample=True))
    )
    _, without = bp.Model(plain, dtype="float64").loss_and_gradients(x, y)
    model = bp.Model(penalised, dtype="float64")
    _, with_penalty = model.loss_and_gradients(x, y)
    extra = with_penalty["0.weight"] - without["0.weight"]
    np.testing.assert_array_equal(extra[-1], 0.0)
    np.testing.assert_allclose(extra[:-1], 3.0 / 4 * model.parameters["0.weight"][:-1], rtol=agreement_rtol(float, 4))


def test_outside_training_dropout_is_off_and_batch_norm_uses_its_running_statistics(rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    model = bp.Model(everything(), dtype="float64")
    training, inference = model.loss_and_gradients(x, y)[0], model.loss_and_gradients(x, y, training=False)[0]
    assert training != inference
    assert inference == pytest.approx(model.evaluate(x, y)["loss"], rel=agreement_rtol(float, len(x)))


def test_a_step_function_runs_forward_but_is_refused_in_training() -> None:
    network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "step")], "mean_squared_error")
    model = bp.Model(network)
    assert set(np.unique(model.predict([[0.0, 1.0], [1.0, 1.0]]))) <= {0.0, 1.0}
    with pytest.raises(bp.ConfigError, match="'step' has no backward"):
        model.fit([[0.0, 1.0]], [[1.0]], epochs=1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: bp.Network(0, [bp.Dense(1)], "mean_squared_error"), "number of inputs"),
        (lambda: bp.Network(2, [], "mean_squared_error"), "at least one layer"),
        (lambda: bp.Network(2, ["Dens"], "mean_squared_error"), "Did you mean 'Dense'"),
        (lambda: bp.Network(2, [bp.Dense], "mean_squared_error"), "got the class Dense"),
        (lambda: bp.Network(2, [bp.Dense(0)], "mean_squared_error"), "at least 1, got 0"),
        (lambda: bp.Network(2, [bp.Dense(1, "rellu")], "mean_squared_error"), "Did you mean 'relu'"),
        (lambda: bp.Network(2, [bp.Dense(1)], "mean_square_error"), "Did you mean 'mean_squared_error'"),
        (lambda: bp.Network(2, [bp.Dense(1)], "MSE"), "Here it is 'mean_squared_error'"),
        (lambda: bp.Dense(2, "logistic"), "Here it is 'sigmoid'"),
        (lambda: bp.Network(2, [bp.Dense(1)], "binary_cross_entropy"), "requires probabilities"),
        (lambda: bp.Network(2, [bp.Dense(3, "softmax")], "softmax_cross_entropy"), "requires raw outputs"),
        (lambda: bp.Network(2, [bp.Residual(bp.Dense(3))], "mean_squared_error"), "got 2 in and 3 out"),
    ],
)
def test_invalid_networks_are_refused(build: object, message: str) -> None:
    with pytest.raises(bp.BpError, match=message):
        build()
