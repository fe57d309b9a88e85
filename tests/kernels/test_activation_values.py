"""Activations against closed forms in Python's math module, at kinks and at extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bpengine.kernels import KERNELS
from bpengine.kernels._functions import normal_cdf, normal_pdf, softplus
from tests.tolerances import oracle_rtol, value_rtol

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805


def logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


CLOSED_FORMS: dict[str, Any] = {
    "identity": lambda x: x,
    "sigmoid": logistic,
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "selu": lambda x: SCALE * x if x > 0 else SCALE * ALPHA * math.expm1(x),
    "softplus": lambda x: math.log1p(math.exp(x)) if x < 30 else x + math.exp(-x),
    "gelu": lambda x: x * cdf(x),
    "gelu_tanh": lambda x: x * logistic(math.sqrt(8.0 / math.pi) * (x + 0.044715 * x**3)),  # 1 + tanh(u) would cancel
    "silu": lambda x: x * logistic(x),
    "step": lambda x: 1.0 if x > 0 else 0.0,
}
POINTS = np.array([[-4.0, -1.0, -0.5, -1e-3, -1e-8], [0.0, 1e-8, 0.25, 1.0, 6.0]])


def apply(name: str, x: Any, **options: Any) -> Any:
    return KERNELS[name].forward(np, np.asarray(x), **options)[0]


def slope(name: str, x: Any, **options: Any) -> Any:
    _, residual = KERNELS[name].forward(np, np.asarray(x), **options)
    return KERNELS[name].backward(np, residual, np.ones_like(x))


def test_every_activation_has_a_closed_form_here() -> None:
    names = {k.name for k in KERNELS.values() if k.kind == "activation"}
    assert names == CLOSED_FORMS.keys() | {"softmax"}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name: str) -> None:
    expected = np.vectorize(CLOSED_FORMS[name], otypes=[np.float64])(POINTS)
    np.testing.assert_allclose(apply(name, POINTS), expected, rtol=value_rtol(np.float64, 64), atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_extremes_stay_finite(name: str, dtype: Any) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([[-1e4, -800.0, -100.0, -tiny, 0.0, tiny, 100.0, 800.0, 1e4]], dtype=dtype)
    assert np.all(np.isfinite(apply(name, x)))
    if KERNELS[name].backward:
        assert np.all(np.isfinite(slope(name, x)))


def test_values_at_kinks() -> None:
    zero = np.array([[0.0, -0.0]])
    assert np.all(slope("relu", zero) == 0.0)
    assert np.all(slope("leaky_relu", zero) == 0.01)
    assert np.all(slope("elu", zero, alpha=0.3) == 0.3)
    assert np.all(slope("elu", zero) == 1.0)
    assert np.all(slope("selu", zero) == SCALE * ALPHA)
    assert np.all(apply("step", zero) == 0.0)
    np.testing.assert_array_equal(apply("step", [[0.4, 0.5, 0.6]], threshold=0.5), [[0.0, 0.0, 1.0]])


def test_elu_with_alpha_one_is_smooth_at_zero_for_the_oracle(jax: Any) -> None:
    gradient = jax.grad(lambda x: jax.numpy.sum(KERNELS["elu"].forward(jax.numpy, x)[0]))
    np.testing.assert_array_equal(gradient(np.zeros((2, 2))), np.ones((2, 2)))


def test_saturated_slopes() -> None:
    x = np.array([[-1e4, 1e4]])
    for name in ("relu", "elu", "softplus", "gelu", "gelu_tanh", "silu"):
        np.testing.assert_allclose(slope(name, x), [[0.0, 1.0]], atol=1e-280, err_msg=name)
    for name in ("sigmoid", "tanh"):
        np.testing.assert_allclose(slope(name, x), [[0.0, 0.0]], atol=1e-280, err_msg=name)


def test_softmax_by_hand() -> None:
    y = apply("softmax", [[0.0, math.log(2.0), math.log(5.0)]])
    np.testing.assert_allclose(y, [[1 / 8, 2 / 8, 5 / 8]], rtol=value_rtol(np.float64))


def test_softmax_backward_is_the_whole_jacobian(rng: Any) -> None:
    x, dy = rng.normal(size=(1, 4)), rng.normal(size=(1, 4))
    y, residual = KERNELS["softmax"].forward(np, x)
    jacobian = np.diag(y[0]) - np.outer(y[0], y[0])
    dx = KERNELS["softmax"].backward(np, residual, dy)
    np.testing.assert_allclose(dx[0], jacobian @ dy[0], rtol=value_rtol(np.float64), atol=value_rtol(np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_extremes(dtype: Any) -> None:
    y = apply("softmax", np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype=dtype))
    np.testing.assert_allclose(y, [[1.0, 0.0, 0.0], [1 / 3] * 3], rtol=value_rtol(dtype))
    np.testing.assert_array_equal(apply("softmax", np.array([[7.0]], dtype=dtype)), [[1.0]])


# Phi(x) from mpmath with 60 digits: in the far tail even erfc(-x / sqrt(2)) rounds its argument away.
TAIL = {
    -5.0: 2.8665157187919391167e-7,
    -10.0: 7.6198530241605260660e-24,
    -12.5: 3.7325642988777135e-36,
    -20.0: 2.7536241186062336951e-89,
    -37.0: 5.7255712225245768227e-300,
}


def test_normal_cdf_keeps_its_relative_precision(rng: Any) -> None:
    x = np.concatenate([rng.uniform(-6.0, 8.0, 500), [0.0, -0.0, 1e-20]])
    expected = [cdf(float(v)) for v in x]
    np.testing.assert_allclose(normal_cdf(np, x), expected, rtol=value_rtol(np.float64, 4))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_cdf_in_the_far_tail(dtype: Any) -> None:
    tail = {x: p for x, p in TAIL.items() if p > np.finfo(dtype).smallest_normal}
    got = normal_cdf(np, np.array(list(tail), dtype=dtype))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, list(tail.values()), rtol=value_rtol(dtype))
    np.testing.assert_array_equal(normal_cdf(np, np.array([-1e4, 1e4], dtype=dtype)), [0.0, 1.0])


def test_derivatives_of_shared_functions_are_right_at_zero(jax: Any) -> None:
    x = np.array([0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0])
    for function, derivative in ((normal_cdf, normal_pdf(np, x)), (softplus, 1.0 / (1.0 + np.exp(-x)))):
        gradient = jax.grad(lambda x, f=function: jax.numpy.sum(f(jax.numpy, x)))(x)
        np.testing.assert_allclose(gradient, derivative, rtol=oracle_rtol())
