"""What cannot be differentiated is refused by name, before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from tests.derivatives.networks import NETWORKS

X, Y = np.ones((2, 3)), np.ones((2, 2))
MODEL = bp.Model(NETWORKS["a sum"])
EMPTY = bp.Model(bp.Network(2, [bp.Activation("tanh")], "mean_squared_error"))
STEP = bp.Model(bp.Network(3, [bp.Dense(2, "step"), bp.Dense(2)], "mean_squared_error"))


@pytest.mark.parametrize(
    ("v", "kind", "message"),
    [
        ({"0.weigth": np.ones((3, 3))}, bp.ConfigError, "unknown parameter '0.weigth'. Did you mean '0.weight'"),
        ({"0.weight": np.ones(3)}, bp.ShapeError, r"hvp requires v\['0.weight'\] of the shape \(3, 3\).*got \(3,\)"),
        ({"0.bias": 1.0}, bp.ShapeError, r"of the shape \(3,\) of its parameter, got \(\)"),
        ({"0.bias": [np.nan, 0.0, 0.0]}, bp.DataError, r"finite numbers, got some in v\['0.bias'\] that are not"),
        ({"0.bias": [1j, 0.0, 0.0]}, bp.DataError, "real numbers, got complex128"),
        ({"0.bias": ["a", "b", "c"]}, bp.DataError, "real numbers, got <U1"),
        (np.ones(20), bp.ConfigError, "v as a dict of arrays by parameter name, like `parameters`, got ndarray"),
    ],
    ids=str,
)
def test_invalid_direction_of_a_hessian_product_is_refused(v: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        MODEL.hvp(X, Y, v)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x, y: m.per_sample_gradients(x, y),
        lambda m, x, y: m.input_gradients(x, y),
        lambda m, x, y: m.hvp(x, y, {}),
        lambda m, x, y: m.top_eigenvalue(x, y),
    ],
)
def test_rows_of_wrong_shape_or_with_nan_are_refused(call: Any) -> None:
    with pytest.raises(bp.ShapeError, match="3"):
        call(MODEL, np.ones((2, 4)), Y)
    with pytest.raises(bp.ShapeError):
        call(MODEL, X, np.ones((3, 2)))
    with pytest.raises(bp.DataError):
        call(MODEL, np.full((2, 3), np.nan), Y)


def test_the_rows_of_a_jacobian_are_checked() -> None:
    with pytest.raises(bp.ShapeError):
        MODEL.jacobian(np.ones((2, 4)))


def test_network_with_a_kernel_without_backward_is_refused(backend_name: str) -> None:
    step = STEP.to(backend_name)
    for call in (
        lambda: step.per_sample_gradients(X, Y),
        lambda: step.jacobian(X),
        lambda: step.input_gradients(X, Y),
        lambda: step.hvp(X, Y, {"0.bias": [1.0, 1.0]}),
        lambda: step.top_eigenvalue(X, Y),
        lambda: bp.jvp("step", [X], [X], backend=backend_name),
    ):
        with pytest.raises(bp.ConfigError, match="kernel 'step' has no backward: the derivative of a step is 0"):
            call()


def test_network_without_parameters_has_a_jacobian_but_no_parameter_derivatives() -> None:
    x = np.ones((2, 2))
    for who, call in (("per_sample_gradients", EMPTY.per_sample_gradients), ("top_eigenvalue", EMPTY.top_eigenvalue)):
        with pytest.raises(bp.ConfigError, match=f"{who} requires at least one parameter, got a network without any"):
            call(x, x)
    assert EMPTY.jacobian(x).shape == (2, 2, 2)
    assert EMPTY.hvp(x, x, {}) == {}


@pytest.mark.parametrize("only", ["0.weigth", ["0.bias", "9.*"], 3, [3]])
def test_unknown_parameter_names_are_refused(only: Any) -> None:
    with pytest.raises(bp.ConfigError, match=r"unknown parameter|per_sample_gradients requires only to be a name"):
        MODEL.per_sample_gradients(X, Y, only=only)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps to be a whole number of at least 1, got 0"),
        ({"steps": 2.5}, "steps to be a whole number"),
        ({"steps": True}, "steps to be a whole number"),
        ({"seed": -1}, "seed to be a whole number of at least 0, got -1"),
        ({"tolerance": -1.0}, "a tolerance of at least 0, got -1"),
        ({"tolerance": float("nan")}, "a tolerance"),
    ],
    ids=str,
)
def test_invalid_settings_of_the_power_iteration_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(bp.ConfigError, match=f"top_eigenvalue requires {message}"):
        MODEL.top_eigenvalue(X, Y, **settings)


def test_hessian_that_is_not_finite_is_reported() -> None:
    huge = bp.Network(1, [bp.Dense(1, bias=False, weight_init=[[1e200]]), bp.Dense(1)], "sum_squared_residuals")
    with pytest.raises(bp.NonFiniteError, match="top_eigenvalue requires a finite Hessian"):
        bp.Model(huge, dtype="float64").top_eigenvalue([[1.0]], [1.0])


@pytest.mark.parametrize(
    ("args", "options", "kind", "message"),
    [
        (("tnah", [X], [X]), None, bp.ConfigError, "unknown kernel 'tnah'. Did you mean 'tanh'"),
        ((3, [X], [X]), None, bp.ConfigError, "unknown kernel 3"),
        (("sgd", [X], [X]), None, bp.ConfigError, "kernel 'sgd' has no backward"),
        (("tanh", [X], [X]), {"alpha": 1.0}, bp.ConfigError, "unknown option of kernel 'tanh': 'alpha'"),
        (("tanh", {"z": X}, [X]), None, bp.ConfigError, "unknown name among the arrays of kernel 'tanh': 'z'"),
        (("tanh", [X], {"y": X}), None, bp.ConfigError, "unknown name among the tangents of kernel 'tanh': 'y'"),
        (("tanh", [X], X), None, bp.ConfigError, "tangents as a dict or as a list of at most 1 .x., got ndarray"),
        (("tanh", [X, X], [X]), None, bp.ConfigError, "arrays as a dict or as a list of at most 1 .x., got 2 of them"),
        (("tanh", [X], [X.T]), None, bp.ShapeError, r"jvp requires a tangent of shape \(2, 3\) for x, got \(3, 2\)"),
        (("dense", [X], [X]), None, bp.ConfigError, "requires the arguments x, w, b, got none for w, b"),
        (("tanh", [X * 1j], [X]), None, bp.DataError, "kernel 'tanh' requires x of real numbers, got complex128"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_arguments_of_jvp_are_refused(args: Any, options: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        bp.jvp(*args, options=options)
