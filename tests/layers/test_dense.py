"""Dense: four ways to keep the bias compute one function; what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from tests.tolerances import agreement_rtol

X = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [0.0, 1.0, 1.0], [-2.0, 0.5, 0.125]]
Y = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [1.0, 1.0]]


def model(bias: bool | str, backend: str = "numpy", **settings: Any) -> bp.Model:
    return bp.Model(
        bp.Network(3, [bp.Dense(2, "tanh", bias=bias, **settings)], "mean_squared_error"), backend, "float64"
    )


def stacked(bias: bool | str, weight: Any, vector: Any) -> dict[str, Any]:
    """Return parameters that hold the same numbers, in the place where each kind of bias keeps them."""
    return {
        True: {"0.weight": weight, "0.bias": vector},
        False: {"0.weight": weight},
        "column": {"0.weight": np.vstack([weight, vector])},
        "column-first": {"0.weight": np.vstack([vector, weight])},
    }[bias]


@pytest.mark.parametrize("bias", [True, "column", "column-first"])
def test_the_place_of_the_bias_does_not_change_the_function(
    backend_name: str, bias: bool | str, rng: np.random.Generator
) -> None:
    weight, vector = rng.normal(size=(3, 2)), rng.normal(size=2)
    ours, reference = model(bias, backend_name), model(True)
    ours.parameters, reference.parameters = stacked(bias, weight, vector), stacked(True, weight, vector)
    rtol = agreement_rtol(float, 3)
    np.testing.assert_allclose(ours.forward(X), reference.forward(X), rtol=rtol, atol=rtol)  # tanh: at most 1
    np.testing.assert_allclose(reference.forward(X), np.tanh(X @ weight + vector), rtol=rtol)
    (loss, gradients), (expected, reference_gradients) = (m.loss_and_gradients(X, Y) for m in (ours, reference))
    assert loss == pytest.approx(expected, rel=rtol)
    wanted = stacked(bias, reference_gradients["0.weight"], reference_gradients["0.bias"])
    assert gradients.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(gradients[name], value, rtol=rtol, atol=rtol)


def test_without_bias_it_is_the_layer_with_bias_zero(rng: np.random.Generator) -> None:
    weight = rng.normal(size=(3, 2))
    ours, reference = model(False), model(True)
    ours.parameters, reference.parameters = {"0.weight": weight}, stacked(True, weight, np.zeros(2))
    np.testing.assert_array_equal(ours.forward(X), reference.forward(X))
    (_, gradients), (_, wanted) = (m.loss_and_gradients(X, Y) for m in (ours, reference))
    assert gradients.keys() == {"0.weight"}
    np.testing.assert_array_equal(gradients["0.weight"], wanted["0.weight"])


@pytest.mark.parametrize("bias", [True, False, "column", "column-first"])
def test_the_gradient_of_the_input_is_the_same_function_too(bias: bool | str, rng: np.random.Generator) -> None:
    """A layer below sees the same dx, wherever the bias is kept."""
    below, weight, vector = rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), np.zeros(2)
    gradients = []
    for kind in (bias, True):
        net = bp.Network(3, [bp.Dense(3, bias=False), bp.Dense(2, "tanh", bias=kind)], "mean_squared_error")
        subject = bp.Model(net, dtype="float64")
        subject.parameters = {
            "0.weight": below,
            **{f"1{n[1:]}": v for n, v in stacked(kind, weight, vector).items()},
        }
        gradients.append(subject.loss_and_gradients(X, Y)[1]["0.weight"])
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=agreement_rtol(float, 4), atol=agreement_rtol(float, 4))


@pytest.mark.parametrize(
    ("bias", "shapes"),
    [
        (True, {"0.weight": (3, 2), "0.bias": (2,)}),
        (False, {"0.weight": (3, 2)}),
        ("column", {"0.weight": (4, 2)}),
        ("column-first", {"0.weight": (4, 2)}),
    ],
)
def test_parameters_and_gradients_have_the_stated_names_and_shapes(bias: bool | str, shapes: Any) -> None:
    subject = model(bias)
    assert {name: value.shape for name, value in subject.parameters.items()} == shapes
    assert {name: value.shape for name, value in subject.loss_and_gradients(X, Y)[1].items()} == shapes


@pytest.mark.parametrize(("bias", "row"), [("column", 3), ("column-first", 0)])
def test_the_bias_row_is_initialised_as_a_bias(bias: str, row: int) -> None:
    weight = model(bias, bias_init=[7.0, 8.0]).parameters["0.weight"]
    assert weight[row].tolist() == [7.0, 8.0]
    np.testing.assert_array_equal(np.delete(weight, row, axis=0), model(True).parameters["0.weight"])
    assert model(bias).parameters["0.weight"][row].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("bias", "row"), [(True, None), ("column", 3), ("column-first", 0)])
@pytest.mark.parametrize("penalty", [bp.L1(0.5), bp.L2(0.5)])
def test_penalties_leave_the_bias_out(bias: bool | str, row: int | None, penalty: Any) -> None:
    net = bp.Network(3, [bp.Dense(2, bias=bias, bias_init=[1.0, 1.0])], "mean_squared_error", penalty)
    plain = bp.Network(3, net.layers, "mean_squared_error")
    (loss, with_penalty), (bare, without) = (
        bp.Model(n, dtype="float64").loss_and_gradients(X, Y) for n in (net, plain)
    )
    weight = bp.Model(net, dtype="float64").parameters["0.weight"]
    inner = weight if row is None else np.delete(weight, row, axis=0)
    size = 0.5 * np.abs(inner).sum() if isinstance(penalty, bp.L1) else 0.25 * (inner**2).sum()
    assert loss - bare == pytest.approx(size, rel=agreement_rtol(float, 8))
    difference = with_penalty["0.weight"] - without["0.weight"]
    if row is None:
        np.testing.assert_array_equal(with_penalty["0.bias"], without["0.bias"])
    else:
        assert not difference[row].any()
        difference = np.delete(difference, row, axis=0)
    wanted = 0.5 * (np.sign(inner) if isinstance(penalty, bp.L1) else inner)
    np.testing.assert_allclose(difference, wanted, rtol=agreement_rtol(float, 8), atol=agreement_rtol(float, 8))


@pytest.mark.parametrize("units", [0, -1, 2.5, 2.0, True, "3", None])
def test_a_number_of_units_that_is_none_is_refused(units: Any) -> None:
    with pytest.raises(bp.ConfigError, match="Dense requires the number of units to be a whole number of at least 1"):
        bp.Dense(units)


@pytest.mark.parametrize("bias", ["row", "Column", 1, 0, None, 0.5, ["column"]])
def test_an_unknown_bias_is_refused(bias: Any) -> None:
    with pytest.raises(bp.ConfigError, match="requires bias to be one of True, False, 'column', 'column-first', got"):
        bp.Dense(2, bias=bias)


def test_numpy_numbers_count_as_numbers() -> None:
    assert bp.Dense(np.int64(3)) == bp.Dense(3)
    assert type(bp.Dense(np.int64(3)).units) is int


def test_layers_compare_and_hash_by_their_settings_and_cannot_be_changed() -> None:
    assert bp.Dense(3, "relu") == bp.Dense(3, bp.Activation("relu"))
    assert hash(bp.Dense(3, "relu")) == hash(bp.Dense(3, "relu"))
    assert bp.Dense(3, "relu") != bp.Dense(3, "tanh")
    assert bp.Dense(3) != bp.Dense(3, bias=False)
    with pytest.raises(AttributeError):
        bp.Dense(3).units = 4
