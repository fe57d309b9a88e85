"""What a network refuses: lists of layers, losses, penalties, and pairs of loss and activation that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

import bpengine as bp
from bpengine.kernels import KERNELS
from bpengine.losses import LOSSES

EXAMPLE = r"For example: layers=\[bp\.Dense\(10\)\]"


def net(layers: Any, loss: Any = "mean_squared_error", penalties: Any = ()) -> bp.Network:
    return bp.Network(3, layers, loss, penalties)


@pytest.mark.parametrize("layers", [[], (), iter([])])
def test_network_without_layers_is_refused(layers: Any) -> None:
    with pytest.raises(bp.ConfigError, match=f"Network requires at least one layer, got none. {EXAMPLE}"):
        net(layers)


@pytest.mark.parametrize("layers", [["Dense"], ["dense"], "Dense"])
def test_layer_given_by_name_is_refused(layers: Any) -> None:
    with pytest.raises(bp.ConfigError, match=r"unknown layer '[Dd]ense'"):
        net(layers)


def test_a_misspelt_layer_name_finds_the_nearest() -> None:
    with pytest.raises(bp.ConfigError, match=r"Did you mean .*'BatchNorm'"):
        net(["BatchNrom"])


@pytest.mark.parametrize("layers", [[bp.Dense], [bp.Dense(3), bp.Dense], bp.Dense])
def test_class_in_place_of_a_layer_is_refused(layers: Any) -> None:
    with pytest.raises(bp.ConfigError, match=r"got the class Dense\. Call it: Dense\(\.\.\.\)"):
        net(layers)


@pytest.mark.parametrize("layers", [[3], [None], [[bp.Dense(2)]], [bp.L2(0.1)], [bp.Loss("huber")], 3, None])
def test_object_that_is_no_layer_is_refused(layers: Any) -> None:
    with pytest.raises(bp.ConfigError, match=r"Network requires layers, got .*For example: bp\.Dense"):
        net(layers)


@pytest.mark.parametrize("inputs", [0, -2, 2.0, True, None, "3"])
def test_invalid_number_of_inputs_is_refused(inputs: Any) -> None:
    with pytest.raises(
        bp.ConfigError, match="Network requires the number of inputs to be a whole number of at least 1"
    ):
        bp.Network(inputs, [bp.Dense(1)], "mean_squared_error")


@pytest.mark.parametrize("name", ["mean_square_error", "MSE", None, 3, ""])
def test_unknown_loss_is_refused_with_the_nearest_name(name: Any) -> None:
    with pytest.raises(bp.ConfigError, match=f"unknown loss {name!r}"):
        net([bp.Dense(1)], name)
    with pytest.raises(bp.ConfigError, match="Did you mean 'mean_squared_error'"):
        bp.Loss("mean_square_error")


@pytest.mark.parametrize("name", LOSSES)
def test_reduction_that_the_loss_does_not_allow_is_refused(name: str) -> None:
    allowed = KERNELS[name].reductions
    assert bp.Loss(name).reduction == allowed[0]
    assert [bp.Loss(name, reduction).reduction for reduction in allowed] == list(allowed)
    for reduction in {"sum", "mean", "batch_mean", "median", ""} - set(allowed):
        with pytest.raises(bp.ConfigError, match=f"loss '{name}' allows the reductions .*, got '{reduction}'"):
            bp.Loss(name, reduction)


def test_unknown_option_of_a_loss_is_refused() -> None:
    with pytest.raises(bp.ConfigError, match=r"option of loss 'huber': 'delda'\. Did you mean 'delta'"):
        bp.Loss("huber", delda=1.0)
    with pytest.raises(bp.ConfigError, match="option of loss 'mean_squared_error': 'delta'"):
        bp.Loss("mean_squared_error", delta=1.0)


@pytest.mark.parametrize("delta", ["1", None, True, [1.0]])
def test_option_of_a_loss_that_is_no_number_is_refused(delta: Any) -> None:
    with pytest.raises(bp.ConfigError, match="delta"):
        bp.Loss("huber", delta=delta)


def test_losses_compare_and_hash_by_name_reduction_and_options() -> None:
    assert bp.Loss("huber", delta=0.5) == bp.Loss("huber", delta=0.5) != bp.Loss("huber", delta=0.6)
    assert bp.Loss("huber") != bp.Loss("huber", "sum")
    assert len({bp.Loss("huber", delta=0.5), bp.Loss("huber", delta=0.5)}) == 1


@pytest.mark.parametrize("kind", [bp.L1, bp.L2])
@pytest.mark.parametrize("strength", [-1e-9, float("nan"), "1", None, True])
def test_invalid_strength_is_refused(kind: Any, strength: Any) -> None:
    with pytest.raises(bp.ConfigError, match=f"{kind.__name__} requires a strength of at least 0, got"):
        kind(strength)


@pytest.mark.parametrize("penalties", ["l2", 0.1, [bp.L2], [0.1], [None]])
def test_object_that_is_no_penalty_is_refused(penalties: Any) -> None:
    with pytest.raises(bp.ConfigError, match=r"Network requires penalties such as bp\.L2\(1e-4\), got"):
        net([bp.Dense(1)], penalties=penalties)


ON_PROBABILITIES = [name for name in LOSSES if KERNELS[name].output == "probabilities"]
ON_SCORES = [name for name in LOSSES if KERNELS[name].output == "scores"]


def endings(activation: str) -> list[Any]:
    """Return the ways in which a network can end in an activation."""
    return [[bp.Dense(2, activation)], [bp.Dense(2), bp.Activation(activation)]]


@pytest.mark.parametrize("loss", ON_PROBABILITIES)
@pytest.mark.parametrize("activation", ["identity", "relu", "tanh"])
def test_a_loss_on_probabilities_refuses_raw_outputs(loss: str, activation: str) -> None:
    for layers in endings(activation):
        with pytest.raises(bp.ConfigError, match=f"'{loss}' requires probabilities, .* activation '{activation}'"):
            net(layers, loss)


@pytest.mark.parametrize("loss", ON_PROBABILITIES)
def test_a_loss_on_probabilities_needs_an_activation_at_the_end(loss: str) -> None:
    for last in (bp.BatchNorm(), bp.Dropout(), bp.Residual([bp.Dense(2, "sigmoid")])):
        with pytest.raises(bp.ConfigError, match=r"activation 'none'\. End it in 'sigmoid' or 'softmax'"):
            net([bp.Dense(2, "sigmoid"), last], loss)
    for layers in endings("sigmoid") + endings("softmax"):
        net(layers, loss)


@pytest.mark.parametrize("loss", ON_SCORES)
@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "step"])
def test_a_loss_on_raw_outputs_refuses_probabilities(loss: str, activation: str) -> None:
    for layers in endings(activation):
        with pytest.raises(bp.ConfigError, match=f"'{loss}' requires raw outputs .* already ends in '{activation}'"):
            net(layers, loss)
    net(endings("identity")[0], loss)


def test_there_are_losses_of_both_kinds() -> None:
    assert set(ON_PROBABILITIES) >= {"binary_cross_entropy", "categorical_cross_entropy"}
    assert set(ON_SCORES) >= {"sigmoid_cross_entropy", "softmax_cross_entropy"}
