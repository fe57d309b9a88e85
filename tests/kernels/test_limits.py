"""Activations and losses at infinity and NaN: the limits of the function and of its derivative, and NaN stays NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.kernels import KERNELS
from tests.tolerances import value_rtol

INF, NAN = np.inf, np.nan
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
SELU, SCALE = 1.7580993408473768, 1.0507009873554805
LIMITS = {  # (y at -inf, y at inf), (slope at -inf, slope at inf); the step has none
    "identity": ((-INF, INF), (1, 1)),
    "sigmoid": ((0, 1), (0, 0)),
    "tanh": ((-1, 1), (0, 0)),
    "relu": ((0, INF), (0, 1)),
    "leaky_relu": ((-INF, INF), (0.01, 1)),
    "elu": ((-1, INF), (0, 1)),
    "selu": ((-SELU, INF), (0, SCALE)),
    "softplus": ((0, INF), (0, 1)),
    "gelu": ((0, INF), (0, 1)),
    "gelu_tanh": ((0, INF), (0, 1)),
    "silu": ((0, INF), (0, 1)),
    "mish": ((0, INF), (0, 1)),
    "celu": ((-1, INF), (0, 1)),
    "softsign": ((-1, 1), (0, 0)),
    "hard_sigmoid": ((0, 1), (0, 0)),
    "hard_tanh": ((-1, 1), (0, 0)),
    "relu6": ((0, 6), (0, 0)),
    "step": ((0, 1), None),
}
LOSSES = [  # loss, y, target, value, dy; a class of score inf is certain, one of -inf is ruled out
    ("softmax_cross_entropy", [INF, 1, 2], [0], 0, [0, 0, 0]),
    ("softmax_cross_entropy", [INF, 1, 2], [1], INF, [1, -1, 0]),
    ("softmax_cross_entropy", [-INF, 1, 1], [1], np.log(2), [0, -0.5, 0.5]),
    ("softmax_cross_entropy", [-INF, 1, 1], [0], INF, [-1, 0.5, 0.5]),
    ("softmax_cross_entropy", [INF, -INF, 2], [0], 0, [0, 0, 0]),
    ("sigmoid_cross_entropy", [INF], [[1]], 0, [0]),
    ("sigmoid_cross_entropy", [INF], [[0]], INF, [1]),
    ("sigmoid_cross_entropy", [INF], [[0.5]], INF, [0.5]),
    ("sigmoid_cross_entropy", [-INF], [[1]], INF, [-1]),
    ("sigmoid_cross_entropy", [-INF], [[0]], 0, [0]),
    ("mean_squared_error", [INF], [[1]], INF, [INF]),
    ("mean_squared_error", [-INF], [[1]], INF, [-INF]),
    ("half_sum_squares", [INF], [[1]], INF, [INF]),
    ("sum_squared_residuals", [-INF], [[1]], INF, [-INF]),
    ("mean_absolute_error", [INF], [[1]], INF, [1]),
    ("mean_absolute_error", [-INF], [[1]], INF, [-1]),
    ("huber", [INF], [[1]], INF, [1]),
    ("huber", [-INF], [[1]], INF, [-1]),
]


def passed(xp: Any, name: str, dtype: str, *args: Any, dy: Any = None) -> tuple[Any, Any]:
    """Return the forward of a kernel and its backward of ones, or of `dy`."""
    kernel, y = KERNELS[name], xp.asarray(np.asarray(args[0], dtype))
    rest = [
        xp.asarray(a if a.dtype.kind == "i" and a.ndim == 1 else a.astype(dtype)) for a in map(np.asarray, args[1:])
    ]
    with np.errstate(all="ignore"):
        out, residual = kernel.forward(xp, y, *rest)
        back = kernel.backward and kernel.backward(xp, residual, xp.ones_like(out) if dy is None else xp.asarray(dy))
    return np.asarray(out), None if back is None else np.asarray(back)


def test_every_activation_and_loss_of_real_numbers_is_tried_at_its_limits() -> None:
    activations = {name for name, kernel in KERNELS.items() if kernel.kind == "activation"}
    losses = {n for n, k in KERNELS.items() if k.kind == "loss" and k.domain.get("y", "real") == "real"}
    assert activations == {*LIMITS, "softmax", "log_softmax"}
    assert losses == {name for name, *_ in LOSSES}


@DTYPES
@pytest.mark.parametrize("name", LIMITS)
def test_activations_of_infinity_and_nan_are_the_limits(xp: Any, name: str, dtype: str) -> None:
    (values, slopes), rtol = LIMITS[name], value_rtol(dtype)
    y, dx = passed(xp, name, dtype, [[-INF, INF]])
    np.testing.assert_allclose(y[0], values, rtol=rtol)
    if slopes is not None:
        np.testing.assert_allclose(dx[0], slopes, rtol=rtol)
    y, dx = passed(xp, name, dtype, [[NAN, 1.0]], dy=np.array([[NAN, 1.0]], dtype))
    np.testing.assert_array_equal(np.isnan(y), [[True, False]])
    assert dx is None or list(np.isnan(dx[0])) == [True, False]


@DTYPES
def test_softmax_of_infinity_and_nan_is_the_limit(xp: Any, dtype: str) -> None:
    rows = [[INF, 1, 2], [-INF, 1, 1], [INF, -INF, 0], [NAN, 1, 2]]
    y, dx = passed(xp, "softmax", dtype, rows, dy=np.array([[1, 2, 3]] * 4, dtype))
    np.testing.assert_allclose(y, [[1, 0, 0], [0, 0.5, 0.5], [1, 0, 0], [NAN] * 3], rtol=value_rtol(dtype))
    np.testing.assert_allclose(dx, [[0, 0, 0], [0, -0.25, 0.25], [0, 0, 0], [NAN] * 3], rtol=value_rtol(dtype))


@DTYPES
def test_log_softmax_of_infinity_and_nan_is_the_limit(xp: Any, dtype: str) -> None:
    """It is the logarithm of softmax: of two certain classes each has a half, of three ruled out each a third."""
    rows = [[INF, 1, 2], [-INF, 1, 1], [INF, -INF, 0], [INF, INF, 0], [-INF] * 3, [NAN, 1, 2]]
    y, dx = passed(xp, "log_softmax", dtype, rows, dy=np.array([[1, 2, 3]] * 6, dtype))
    half, third = -np.log(2), -np.log(3)
    expected = [[0, -INF, -INF], [-INF, half, half], [0, -INF, -INF], [half, half, -INF], [third] * 3, [NAN] * 3]
    np.testing.assert_allclose(y, expected, rtol=value_rtol(dtype))
    slopes = [[-5, 2, 3], [1, -1, 0], [-5, 2, 3], [-2, -1, 3], [-1, 0, 1], [NAN] * 3]
    np.testing.assert_allclose(dx, slopes, rtol=value_rtol(dtype), atol=value_rtol(dtype))


@DTYPES
@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_losses_of_infinity_and_nan_are_the_limits(xp: Any, case: tuple[Any, ...], dtype: str) -> None:
    name, y, target, value, slope = case
    loss, dy = passed(xp, name, dtype, [y], target)
    np.testing.assert_allclose(loss, value, rtol=value_rtol(dtype))
    np.testing.assert_allclose(dy[0], slope, rtol=value_rtol(dtype))
    loss, dy = passed(xp, name, dtype, [[NAN, *y[1:]]], target)
    assert np.isnan(loss)
    assert np.isnan(dy).all()


def test_two_infinite_scores_count_as_equally_probable(xp: Any) -> None:
    loss, _ = passed(xp, "softmax_cross_entropy", "float32", [[INF, INF, 2]], [0])
    np.testing.assert_allclose(loss, np.log(2), rtol=value_rtol("float32"))


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "gelu", "silu"])
def test_numpy_error_settings_do_not_affect_training_and_are_left_unchanged(activation: str, tmp_path: Any) -> None:
    x, y = np.array([[200.0, 1e-30], [-200.0, 3e-30], [90.0, 2.0], [1e-38, 0.5]]), np.array([0, 1, 1, 0])
    net = bp.Network(2, [bp.Dense(3, activation), bp.Dense(2)], "softmax_cross_entropy", bp.L2(1e-30))
    with np.errstate(all="raise"):
        before, model = np.geterr(), bp.Model(net)
        model.fit(1e3 * x, y, epochs=2, validation=(x, y))
        model.predict(1e3 * x)
        model.forward(1e3 * x)
        model.evaluate(1e3 * x, y)
        model.loss_and_gradients(1e3 * x, y)
        run = bp.layers.Run(True, np.array([0, 0], np.uint32))
        rows = model.backend.asarray(1e3 * x, "float32"), model.backend.asarray(y)
        net.loss_and_gradients(model.backend.ops(), model.parameters, {}, *rows, None, run)
        model.check(x, y, oracles=["differences", "inner products"])
        model.trace(x, y)
        str(model.explain(x, y, layer=0, unit=0))
        bp.sweep(model, x, y, "0.bias[0]", [-200.0, 0.0, 200.0])
        bp.sensitivity(model, x, y)
        model.to("numpy").save(tmp_path / "m.safetensors")
        bp.load(tmp_path / "m.safetensors").predict(1e3 * x)
        assert np.geterr() == before
