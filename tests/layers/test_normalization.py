"""BatchNorm and LayerNorm: what they normalise over, and the statistics that training keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.layers import Run
from bpengine.ops import Ops
from tests.tolerances import agreement_rtol, value_rtol


def net(*layers: Any, inputs: int = 3) -> bp.Network:
    return bp.Network(inputs, layers, "mean_squared_error")


@pytest.fixture
def x(rng: np.random.Generator) -> Any:
    return rng.normal(2.0, 3.0, size=(12, 3))


def test_layer_norm_normalises_each_sample(backend_name: str, x: Any) -> None:
    model = bp.Model(net(bp.LayerNorm(eps=1e-3)), backend_name, "float64")
    model.parameters = {"0.gamma": [1.0, 2.0, 3.0], "0.beta": [0.0, 1.0, -1.0]}
    spread = np.sqrt(x.var(axis=1, keepdims=True) + 1e-3)
    wanted = (x - x.mean(axis=1, keepdims=True)) / spread * [1.0, 2.0, 3.0] + [0.0, 1.0, -1.0]
    np.testing.assert_allclose(model.forward(x), wanted, rtol=value_rtol(float, 3), atol=value_rtol(float, 3))
    assert model.running == {}


def test_batch_norm_in_training_normalises_each_feature(x: Any) -> None:
    network = net(bp.BatchNorm(eps=1e-3))
    y = network.forward(Ops(np), *network.init(0), x, Run(True)).y
    wanted = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3)
    np.testing.assert_allclose(y, wanted, rtol=value_rtol(float, 12), atol=value_rtol(float, 12))


@pytest.mark.parametrize("momentum", [0.9, 0.5, 0])
def test_running_statistics_follow_the_formula(backend_name: str, momentum: float, x: Any) -> None:
    """Running = momentum old + (1 - momentum) batch, from mean 0 and variance 1, once per step."""
    layer = bp.BatchNorm(momentum=momentum)
    model = bp.Model(net(layer, bp.Dense(1)), backend_name, "float64")
    mean, variance = np.zeros(3), np.ones(3)
    assert {name: value.tolist() for name, value in model.running.items()} == {
        "0.mean": mean.tolist(),
        "0.variance": variance.tolist(),
    }
    model.fit(x, np.zeros(12), optimizer=bp.SGD(0.1), batch_size=4, epochs=2, shuffle=False)
    for batch in [x[:4], x[4:8], x[8:]] * 2:
        mean = momentum * mean + (1 - momentum) * batch.mean(axis=0)
        variance = momentum * variance + (1 - momentum) * batch.var(axis=0)
    np.testing.assert_allclose(model.running["0.mean"], mean, rtol=agreement_rtol(float, 12))
    np.testing.assert_allclose(model.running["0.variance"], variance, rtol=agreement_rtol(float, 12))


def test_outside_training_the_running_statistics_are_used(backend_name: str, x: Any) -> None:
    model = bp.Model(net(bp.BatchNorm(momentum=0.0, eps=1e-3), bp.Dense(1)), backend_name, "float64")
    model.fit(x, np.zeros(12), optimizer=bp.SGD(0.1), steps=1)
    params, one = model.parameters, x[:1]  # one sample: the statistics of the batch would make it 0
    normalised = (one - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3)
    wanted = (normalised * params["0.gamma"] + params["0.beta"]) @ params["1.weight"] + params["1.bias"]
    np.testing.assert_allclose(model.forward(one), wanted, rtol=value_rtol(float, 12))
    np.testing.assert_array_equal(model.forward(x)[:1].shape, (1, 1))
    np.testing.assert_allclose(model.forward(x)[:1], model.forward(one), rtol=agreement_rtol(float, 3))


def test_only_training_moves_the_statistics(x: Any) -> None:
    model = bp.Model(net(bp.BatchNorm(), bp.Dense(1)))
    before = model.running
    model.forward(x), model.evaluate(x, np.zeros(12)), model.loss_and_gradients(x, np.zeros(12))
    for name, value in before.items():
        np.testing.assert_array_equal(model.running[name], value)


def test_frozen_parameters_do_not_freeze_the_statistics(x: Any) -> None:
    model = bp.Model(net(bp.BatchNorm(), bp.Dense(1)))
    model.fit(x, np.zeros(12), steps=1, only="1.bias")
    assert model.running["0.mean"].all()
    assert (model.parameters["0.gamma"] == 1).all()


def test_gradients_agree_with_autodiff_in_training_and_outside(x: Any, jax: Any) -> None:
    from bpengine.check import autodiff_gradients, largest_difference
    from tests.tolerances import oracle_rtol

    """Biases before a BatchNorm are left out of the network: their gradient is 0, and what is found is rounding."""
    inner = bp.Residual([bp.Dense(4, "tanh", bias=False), bp.BatchNorm(), bp.LayerNorm()])
    network = net(bp.Dense(4, bias=False), bp.BatchNorm(), inner, bp.Dense(1))
    model, y = bp.Model(network, dtype="float64"), x[:, :1]
    loss, reference = autodiff_gradients(network, model.parameters, model.running, x, y)
    ours, gradients = model.loss_and_gradients(x, y)
    assert ours == pytest.approx(loss, rel=oracle_rtol())
    assert largest_difference(gradients, reference) <= oracle_rtol()
    assert model.loss_and_gradients(x, y, training=False)[0] != ours


def test_running_statistics_inside_a_residual_are_named_by_their_place(x: Any) -> None:
    model = bp.Model(net(bp.Residual([bp.BatchNorm(), bp.Residual([bp.BatchNorm()])]), bp.Dense(1)))
    assert list(model.running) == ["0.0.mean", "0.0.variance", "0.1.0.mean", "0.1.0.variance"]
    model.parameters = {"0.0.beta": [1.0, 1.0, 1.0]}  # so that the mean of the second batch norm's inputs is not 0
    model.fit(x, np.zeros(12), steps=1)
    assert all(value.all() for value in model.running.values())


@pytest.mark.parametrize("kind", [bp.BatchNorm, bp.LayerNorm])
@pytest.mark.parametrize("eps", [0, 0.0, -1e-5, float("nan"), "small", None])
def test_eps_must_be_above_zero(kind: Any, eps: Any) -> None:
    with pytest.raises(bp.ConfigError, match=f"{kind.__name__} requires eps above 0, got"):
        kind(eps=eps)


@pytest.mark.parametrize("momentum", [1, 1.0, -0.1, float("nan"), "much", None])
def test_momentum_is_below_one(momentum: Any) -> None:
    with pytest.raises(bp.ConfigError, match="BatchNorm requires a momentum of at least 0 and below 1, got"):
        bp.BatchNorm(momentum=momentum)
