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
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "celu": lambda x: x if x > 0 else math.expm1(x),
    "softsign": lambda x: x / (1.0 + abs(x)),
    "hard_sigmoid": lambda x: min(max((x + 3.0) / 6.0, 0.0), 1.0),
    "hard_tanh": lambda x: min(max(x, -1.0), 1.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "step": lambda x: 1.0 if x > 0 else 0.0,
}
POINTS = np.array([[-4.0, -1.0, -0.5, -1e-3, -1e-8], [0.0, 1e-8, 0.25, 1.0, 6.0]])


def apply(name: str, x: Any, **options: Any) -> Any:
    return KERNELS[name].forward(np, np.asarray(x), **options)[0]


def slope(name: str, x: Any, **options: Any) -> Any:
    _, residual = KERNELS[name].forward(np, np.asarray(x), **options)
    return KERNELS[name].backward(np, residual, np.ones_like(x))


def test_every_activation_is_compared_with_a_closed_form() -> None:
    names = {k.name for k in KERNELS.values() if k.kind == "activation"}
    assert names == CLOSED_FORMS.keys() | {"softmax", "log_softmax"}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_every_activation_has_the_values_of_its_closed_form(name: str) -> None:
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
    for name, ends in (("relu6", [0.0, -0.0, 6.0]), ("hard_tanh", [-1.0, 1.0]), ("hard_sigmoid", [-3.0, 3.0])):
        assert np.all(slope(name, [ends]) == 0.0), name
    assert np.all(apply("step", zero) == 0.0)
    np.testing.assert_array_equal(apply("step", [[0.4, 0.5, 0.6]], threshold=0.5), [[0.0, 0.0, 1.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "low", "high", "steep"),
    [("relu6", 0.0, 6.0, 1.0), ("hard_tanh", -1.0, 1.0, 1.0), ("hard_sigmoid", -3.0, 3.0, 1 / 6)],
)
def test_the_slope_of_a_cut_line_changes_at_the_very_next_number(
    name: str, low: float, high: float, steep: float, dtype: Any
) -> None:
    ends = np.array([low, high], dtype)
    outside = np.nextafter(ends, np.array([-np.inf, np.inf], dtype))
    inside = np.nextafter(ends, np.array([np.inf, -np.inf], dtype))
    np.testing.assert_array_equal(slope(name, [ends]), [[0.0, 0.0]])
    np.testing.assert_array_equal(slope(name, [outside]), [[0.0, 0.0]])
    np.testing.assert_array_equal(slope(name, [inside]), np.full((1, 2), steep, dtype))
    np.testing.assert_array_equal(apply(name, [outside]), apply(name, [ends]))


def test_hard_sigmoid_keeps_its_digits_near_zero() -> None:
    x = np.float64(-3.0) + np.array([[2.0**-40, 2.0**-20, 0.5]])
    np.testing.assert_array_equal(apply("hard_sigmoid", x), (x + 3.0) / 6.0)
    assert np.all(x + 3.0 == [[2.0**-40, 2.0**-20, 0.5]])


# mish and its derivative from mpmath with 60 digits
MISH = {
    -700.0: (-6.9017735806318395997e-302, -6.8919139040880798288e-302),
    -80.0: (-1.4438811102763321378e-33, -1.4258325963978779861e-33),
    -30.0: (-2.8072868906519210338e-12, -2.7137106609633923184e-12),
    -5.0: (-0.033576237730161705396, -0.026747498019901933504),
    -1.0: (-0.30340146137410891807, 0.059216755877394948006),
    -1e-20: (-5.9999999999999996709e-21, 0.59999999999999999999),
    0.5: (0.37524521130489510482, 0.88642437535772725845),
    3.0: (2.9865350049679573191, 1.0211069109294437727),
    17.0: (16.999999999999941727, 1.0000000000001131179),
    30.0: (30.0, 1.0),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mish_keeps_its_relative_precision(dtype: Any) -> None:
    x = np.array([[x for x in MISH if np.exp(dtype(x)) > np.finfo(dtype).smallest_normal]], dtype)
    values, slopes = zip(*(MISH[v] for v in MISH if np.exp(dtype(v)) > np.finfo(dtype).smallest_normal), strict=True)
    np.testing.assert_allclose(apply("mish", x)[0], values, rtol=value_rtol(dtype))
    np.testing.assert_allclose(slope("mish", x)[0], slopes, rtol=value_rtol(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha", [0.25, 1.0, 4.0])  # exact in binary, and so are their quotients
def test_celu_keeps_its_relative_precision(alpha: float, dtype: Any) -> None:
    x = np.array([[-60.0, -10.0, -1.0, -1e-6, 0.0, -0.0, 1e-6, 2.0]], dtype) * dtype(min(alpha, 1.0))
    wide = [float(v) for v in x[0]]
    np.testing.assert_allclose(
        apply("celu", x, alpha=alpha)[0],
        [v if v > 0 else alpha * math.expm1(v / alpha) for v in wide],
        rtol=value_rtol(dtype),
    )
    slopes = [1.0 if v > 0 else math.exp(v / alpha) for v in wide]
    np.testing.assert_allclose(slope("celu", x, alpha=alpha)[0], slopes, rtol=value_rtol(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softsign_is_accurate_far_from_zero(dtype: Any) -> None:
    largest = np.finfo(dtype).max
    np.testing.assert_array_equal(apply("softsign", np.array([[-largest, largest]], dtype)), [[-1.0, 1.0]])
    x = np.array([[-1e18, -100.0, -3.0, -0.0, 0.0, 0.25, 1e10]], dtype)
    wide = x[0].astype(float)
    np.testing.assert_allclose(slope("softsign", x)[0], 1.0 / (1.0 + np.abs(wide)) ** 2, rtol=value_rtol(dtype))
    assert list(np.signbit(apply("softsign", x)[0])) == [True] * 4 + [False] * 3


@pytest.mark.parametrize(("name", "options", "at_zero"), [
    ("mish", {}, 0.6), ("celu", {}, 1.0), ("celu", {"alpha": 0.3}, 1.0), ("softsign", {}, 1.0),
])  # fmt: skip
def test_smooth_activations_are_smooth_at_zero_for_the_oracle(
    name: str, options: Any, at_zero: float, jax: Any
) -> None:
    zero = np.array([[0.0, -0.0]])
    gradient = jax.grad(lambda x: jax.numpy.sum(KERNELS[name].forward(jax.numpy, x, **options)[0]))(zero)
    np.testing.assert_allclose(gradient, [[at_zero] * 2], rtol=oracle_rtol())
    np.testing.assert_allclose(slope(name, zero, **options), [[at_zero] * 2], rtol=oracle_rtol())


def test_elu_with_alpha_one_is_smooth_at_zero_for_the_oracle(jax: Any) -> None:
    gradient = jax.grad(lambda x: jax.numpy.sum(KERNELS["elu"].forward(jax.numpy, x)[0]))
    np.testing.assert_array_equal(gradient(np.zeros((2, 2))), np.ones((2, 2)))


def test_slopes_of_saturated_activations_are_0_or_1() -> None:
    x = np.array([[-1e4, 1e4]])
    for name in ("relu", "elu", "celu", "softplus", "gelu", "gelu_tanh", "silu", "mish"):
        np.testing.assert_allclose(slope(name, x), [[0.0, 1.0]], atol=1e-280, err_msg=name)
    for name in ("sigmoid", "tanh", "hard_sigmoid", "hard_tanh", "relu6"):
        np.testing.assert_allclose(slope(name, x), [[0.0, 0.0]], atol=1e-280, err_msg=name)


def test_softmax_gives_the_values_computed_by_hand() -> None:
    y = apply("softmax", [[0.0, math.log(2.0), math.log(5.0)]])
    np.testing.assert_allclose(y, [[1 / 8, 2 / 8, 5 / 8]], rtol=value_rtol(np.float64))


def test_softmax_backward_is_the_whole_jacobian(rng: Any) -> None:
    x, dy = rng.normal(size=(1, 4)), rng.normal(size=(1, 4))
    y, residual = KERNELS["softmax"].forward(np, x)
    jacobian = np.diag(y[0]) - np.outer(y[0], y[0])
    dx = KERNELS["softmax"].backward(np, residual, dy)
    np.testing.assert_allclose(dx[0], jacobian @ dy[0], rtol=value_rtol(np.float64), atol=value_rtol(np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_extreme_scores_is_finite(dtype: Any) -> None:
    y = apply("softmax", np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype=dtype))
    np.testing.assert_allclose(y, [[1.0, 0.0, 0.0], [1 / 3] * 3], rtol=value_rtol(dtype))
    np.testing.assert_array_equal(apply("softmax", np.array([[7.0]], dtype=dtype)), [[1.0]])


def test_log_softmax_gives_the_values_computed_by_hand() -> None:
    x = np.log([[1.0, 2.0, 5.0]])
    np.testing.assert_allclose(apply("log_softmax", x), np.log([[1 / 8, 2 / 8, 5 / 8]]), rtol=value_rtol(np.float64))
    _, residual = KERNELS["log_softmax"].forward(np, x)
    dx = KERNELS["log_softmax"].backward(np, residual, np.array([[1.0, 0.0, -3.0]]))
    np.testing.assert_allclose(dx, [[1 + 2 / 8, 4 / 8, -3 + 10 / 8]], rtol=value_rtol(np.float64))


def test_log_softmax_backward_is_the_whole_jacobian(rng: Any) -> None:
    x, dy = rng.normal(size=(1, 4)), rng.normal(size=(1, 4))
    _, residual = KERNELS["log_softmax"].forward(np, x)
    p = np.exp(x[0]) / np.sum(np.exp(x[0]))
    dx = KERNELS["log_softmax"].backward(np, residual, dy)
    expected = (np.eye(4) - np.outer(p, np.ones(4))) @ dy[0]
    np.testing.assert_allclose(dx[0], expected, rtol=value_rtol(np.float64), atol=value_rtol(np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_of_extreme_scores_keeps_its_precision(dtype: Any) -> None:
    """Log p of an unlikely class is finite where p is 0; that of a likely one keeps the sum of the others."""
    y = apply("log_softmax", np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype=dtype))
    np.testing.assert_allclose(y, [[0.0, -2e4, -1e4], [-math.log(3.0)] * 3], rtol=value_rtol(dtype))
    np.testing.assert_array_equal(apply("log_softmax", np.array([[7.0]], dtype=dtype)), [[0.0]])
    third = float(np.finfo(dtype).max) / 3.0
    np.testing.assert_allclose(apply("log_softmax", np.array([[-third, third]], dtype)), [[-2.0 * third, 0.0]])
    for gap in (5.0, 20.0, 40.0, 80.0):
        y = apply("log_softmax", np.array([[3.0, 3.0 - gap, 2.0 - gap]], dtype=dtype))
        expected = -math.log1p(math.exp(-gap) + math.exp(-gap - 1.0))
        np.testing.assert_allclose(y, [[expected, expected - gap, expected - gap - 1.0]], rtol=value_rtol(dtype))


def test_log_softmax_is_smooth_where_scores_tie(jax: Any, rng: Any) -> None:
    for x in (np.zeros((1, 3)), np.array([[1.0, 1.0, -2.0]]), np.array([[900.0, -900.0, 900.0]])):
        dy = rng.normal(size=x.shape)
        _, residual = KERNELS["log_softmax"].forward(np, x)
        _, vjp = jax.vjp(lambda x: KERNELS["log_softmax"].forward(jax.numpy, x)[0], x)
        np.testing.assert_allclose(KERNELS["log_softmax"].backward(np, residual, dy), vjp(dy)[0], atol=oracle_rtol())


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
def test_normal_cdf_agrees_with_published_values_in_the_far_tail(dtype: Any) -> None:
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
