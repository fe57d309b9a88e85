"""Activations as layers and inside Dense: options, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.kernels import KERNELS
from bpengine.layers.activation import ACTIVATIONS
from tests.tolerances import value_rtol

X = [[-2.0, -0.5, 0.25, 3.0]]


def apply(*layers: Any) -> Any:
    return bp.Model(bp.Network(4, layers, "mean_squared_error"), dtype="float64").forward(X)


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if KERNELS[n].output != "probabilities"])
def test_as_a_layer_and_inside_dense_it_is_the_kernel(name: str) -> None:
    identity = bp.Dense(4, name, weight_init=np.eye(4))
    np.testing.assert_array_equal(apply(bp.Activation(name)), KERNELS[name].forward(np, np.array(X))[0])
    np.testing.assert_array_equal(apply(bp.Activation(name)), apply(identity))


@pytest.mark.parametrize(
    ("activation", "below_zero"),
    [
        (bp.Activation("leaky_relu", alpha=0.25), lambda x: 0.25 * x),
        (bp.Activation("leaky_relu"), lambda x: 0.01 * x),
        (bp.Activation("elu", alpha=2), lambda x: 2 * np.expm1(x)),
    ],
)
def test_options_reach_the_kernel(activation: bp.Activation, below_zero: Any) -> None:
    x = np.array(X)
    wanted = np.where(x > 0, x, below_zero(x))
    for y in (apply(activation), apply(bp.Dense(4, activation, weight_init=np.eye(4)))):
        np.testing.assert_allclose(y, wanted, rtol=value_rtol(float))


def test_an_unknown_activation_is_refused() -> None:
    for make in (bp.Activation, lambda name: bp.Dense(2, name)):
        with pytest.raises(bp.ConfigError, match=r"unknown activation 'rellu'\. Did you mean .*'relu'"):
            make("rellu")
    with pytest.raises(bp.ConfigError, match="unknown activation None"):
        bp.Dense(2, None)
    with pytest.raises(bp.ConfigError, match="unknown activation 'dense'"):
        bp.Activation("dense")  # a kernel, but no activation


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(bp.ConfigError, match=r"option of activation 'leaky_relu': 'slope'\. Known: alpha"):
        bp.Activation("leaky_relu", slope=0.1)
    with pytest.raises(bp.ConfigError, match=r"option of activation 'relu': 'alpha'\. Known: none"):
        bp.Activation("relu", alpha=0.1)


@pytest.mark.parametrize("alpha", ["0.1", None, True, [0.1]])
def test_an_option_that_is_no_number_is_refused(alpha: Any) -> None:
    with pytest.raises(bp.ConfigError, match="'leaky_relu' requires alpha to be a finite number, got"):
        bp.Activation("leaky_relu", alpha=alpha)


def test_activations_compare_and_hash_by_name_and_options() -> None:
    assert bp.Activation("elu", alpha=0.5) == bp.Activation("elu", alpha=0.5) != bp.Activation("elu", alpha=0.6)
    assert hash(bp.Activation("elu", alpha=0.5)) == hash(bp.Activation("elu", alpha=0.5))


@pytest.mark.parametrize(
    ("name", "alpha", "limit"), [("celu", 0.0, "above 0"), ("celu", -1.0, "above 0"), ("elu", -0.5, "of at least 0")]
)
def test_an_option_out_of_its_range_is_refused(name: str, alpha: float, limit: str) -> None:
    with pytest.raises(bp.ConfigError, match=f"activation '{name}' requires alpha {limit}, got {alpha:g}"):
        bp.Activation(name, alpha=alpha)
    assert bp.Activation("elu", alpha=0.0).options == {"alpha": 0.0}
