"""Residual: y = x + f(x), names, shapes, penalties, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from tests.tolerances import agreement_rtol, oracle_rtol


def net(*layers: Any, penalties: Any = ()) -> bp.Network:
    return bp.Network(3, layers, "mean_squared_error", penalties)


@pytest.fixture
def x(rng: np.random.Generator) -> Any:
    return rng.normal(size=(5, 3))


def test_residual_adds_its_input_to_the_inner_layers(backend_name: str, x: Any) -> None:
    inner = [bp.Dense(4, "tanh"), bp.Dense(3)]
    model = bp.Model(net(bp.Residual(inner)), backend_name, "float64")
    p = model.parameters
    f = np.tanh(x @ p["0.0.weight"] + p["0.0.bias"]) @ p["0.1.weight"] + p["0.1.bias"]
    rtol = agreement_rtol(float, 7)
    np.testing.assert_allclose(model.forward(x), x + f, rtol=rtol, atol=rtol)


def test_names_are_those_of_the_inner_layers() -> None:
    model = bp.Model(net(bp.Dense(3), bp.Residual([bp.Dense(4), bp.Dense(3), bp.Residual([bp.LayerNorm()])])))
    inner = ["1.0.weight", "1.0.bias", "1.1.weight", "1.1.bias", "1.2.0.gamma", "1.2.0.beta"]
    assert list(model.parameters) == ["0.weight", "0.bias", *inner]
    assert model.parameters["1.0.weight"].shape == (3, 4)


def test_a_single_layer_needs_no_list() -> None:
    assert bp.Residual(bp.Dense(3)) == bp.Residual([bp.Dense(3)]) == bp.Residual((bp.Dense(3),))


@pytest.mark.parametrize("first", [True, False])
def test_gradient_is_the_sum_of_both_branches(x: Any, jax: Any, first: bool) -> None:
    """Also where it is the first layer, whose input needs no gradient."""
    from bpengine.check import autodiff_gradients, largest_difference

    deep = bp.Residual([bp.Dense(4, "silu"), bp.Residual([bp.Dense(4, "tanh", bias="column")]), bp.Dense(3)])
    network = net(*([] if first else [bp.Dense(3, "tanh")]), deep, bp.Dense(2), penalties=[bp.L2(0.1), bp.L1(0.01)])
    model = bp.Model(network, dtype="float64")
    _, reference = autodiff_gradients(network, model.parameters, model.running, x, x[:, :2])
    _, gradients = model.loss_and_gradients(x, x[:, :2])
    assert gradients.keys() == model.parameters.keys()
    assert largest_difference(gradients, reference) <= oracle_rtol()


def test_penalties_reach_inside(x: Any) -> None:
    layers = bp.Residual([bp.Dense(4, bias="column-first", bias_init=np.ones(4)), bp.Dense(3, bias_init=np.ones(3))])
    network, plain = net(layers, penalties=bp.L2(0.5)), net(layers)
    assert network.penalized() == {"0.0.weight": "first", "0.1.weight": None}
    (loss, gradients), (bare, without) = (
        bp.Model(n, dtype="float64").loss_and_gradients(x, x) for n in (network, plain)
    )
    p = bp.Model(network, dtype="float64").parameters
    wanted = 0.25 * ((p["0.0.weight"][1:] ** 2).sum() + (p["0.1.weight"] ** 2).sum())
    assert loss - bare == pytest.approx(wanted, rel=agreement_rtol(float, 24))
    assert not (gradients["0.0.weight"] - without["0.0.weight"])[0].any()
    rtol = agreement_rtol(float, 24)
    np.testing.assert_allclose(
        gradients["0.1.weight"] - without["0.1.weight"], 0.5 * p["0.1.weight"], rtol=rtol, atol=rtol
    )


def test_another_number_of_features_at_the_end_is_refused() -> None:
    with pytest.raises(bp.ShapeError, match=r"got 3 in and 4 out\. End them with Dense\(3\)"):
        net(bp.Residual([bp.Dense(4)]))
    with pytest.raises(bp.ShapeError, match="got 5 in and 3 out"):
        net(bp.Dense(5), bp.Residual([bp.Dense(3)]), bp.Dense(3))


def test_inner_layers_are_checked() -> None:
    with pytest.raises(bp.ConfigError, match="Residual requires at least one layer, got none"):
        bp.Residual([])
    with pytest.raises(bp.ConfigError, match=r"unknown layer 'Dense'|unknown layer 'dense'"):
        bp.Residual(["dense"])
    with pytest.raises(bp.ConfigError, match=r"got the class Dense\. Call it: Dense\(...\)"):
        bp.Residual([bp.Dense])
