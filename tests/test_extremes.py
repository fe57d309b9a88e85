"""Extreme numbers in whole networks: saturated and equal logits, zeros, denormals, very large numbers, smallest shapes.

Loss and gradients have the values of the closed forms and are finite wherever exact arithmetic keeps them below the
largest number of the dtype, and training goes on from there. Where a square is really too large the loss is infinite and
training stops with an error.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.kernels import KERNELS
from bpengine.layers.activation import ACTIVATIONS
from bpengine.losses import LOSSES
from tests.tolerances import value_rtol

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
ALL_LOSSES = pytest.mark.parametrize("name", LOSSES)
EYE, LOG2 = np.eye(2), math.log(2.0)
CUT = (
    object()
)  # -log of a probability that rounds to 0: about -log(smallest normal number), the gradient has no closed form

# loss, and its derivative by each logit, for the logits (z, -z) and the first class: z = 1e4 is right, -1e4 wrong
RIGHT, WRONG, EQUAL = 1e4, -1e4, 0.0
VALUES: dict[str, dict[float, tuple[Any, Any]]] = {
    "sum_squared_residuals": {RIGHT: (2e8, [2e4, -2e4]), WRONG: (2e8, [-2e4, 2e4]), EQUAL: (0, [0, 0])},
    "half_sum_squares": {RIGHT: (1e8, [1e4, -1e4]), WRONG: (1e8, [-1e4, 1e4]), EQUAL: (0, [0, 0])},
    "mean_squared_error": {RIGHT: (1e8, [1e4, -1e4]), WRONG: (1e8, [-1e4, 1e4]), EQUAL: (0, [0, 0])},
    "mean_absolute_error": {RIGHT: (1e4, [0.5, -0.5]), WRONG: (1e4, [-0.5, 0.5]), EQUAL: (0, [0, 0])},
    "huber": {RIGHT: (2e4 - 1, [1, -1]), WRONG: (2e4 - 1, [-1, 1]), EQUAL: (0, [0, 0])},
    "binary_cross_entropy": {RIGHT: (0, [0, 0]), WRONG: (CUT, None), EQUAL: (2 * LOG2, [-0.5, 0.5])},
    "sigmoid_cross_entropy": {RIGHT: (0, [0, 0]), WRONG: (2e4, [-1, 1]), EQUAL: (2 * LOG2, [-0.5, 0.5])},
    "categorical_cross_entropy": {RIGHT: (0, [0, 0]), WRONG: (CUT, None), EQUAL: (LOG2, [-0.5, 0.5])},
    "softmax_cross_entropy": {RIGHT: (0, [0, 0]), WRONG: (2e4, [-1, 1]), EQUAL: (LOG2, [-0.5, 0.5])},
}
TARGETS = {"values": [0.0, 0.0], "binary": [1.0, 0.0], "classes": 0}


def logits(name: str, backend: str, dtype: str, size: int = 2) -> bp.Model:
    """Return a network whose logits are its inputs; the loss is a sum over the rows where it may be one."""
    kernel = KERNELS[name]
    loss = bp.Loss(name, "sum" if "sum" in kernel.reductions else "mean")
    probable = "softmax" if loss.target == "classes" else "sigmoid"
    end = probable if kernel.output == "probabilities" else "identity"
    return bp.Model(bp.Network(size, bp.Dense(size, end, weight_init=np.eye(size)), loss), backend, dtype)


@cache
def compiled(*args: Any) -> bp.Model:
    """Return an untrained network, compiled once."""
    return logits(*args)


def targets(model: bp.Model, rows: int = 3) -> Any:
    return [TARGETS[model.network.loss.target]] * rows


@pytest.fixture(autouse=True)
def _silent() -> Any:
    """Silence NumPy's overflow warnings: what comes out is looked at."""
    with np.errstate(all="ignore"):
        yield


def assert_finite(result: tuple[float, dict[str, Any]], what: Any) -> None:
    loss, gradients = result
    assert np.isfinite(loss), what
    for name, gradient in gradients.items():
        assert np.all(np.isfinite(gradient)), (what, name, gradient)


def test_every_loss_has_its_values() -> None:
    assert VALUES.keys() == set(LOSSES)


@DTYPES
@ALL_LOSSES
def test_saturated_and_equal_logits_have_the_values_of_the_closed_form(
    name: str, dtype: str, backend_name: str
) -> None:
    model, rtol = compiled(name, backend_name, dtype), value_rtol(dtype)
    limits = np.finfo(dtype)
    rows = 3 if model.network.loss.reduction == "sum" else 1  # the same row thrice changes no mean
    for z, (value, slopes) in VALUES[name].items():
        loss, gradients = model.loss_and_gradients([[z, -z]] * 3, targets(model), [1.0] * 3)
        assert_finite((loss, gradients), z)
        if value is CUT:
            terms = rows * (2 if name == "binary_cross_entropy" else 1)
            assert -math.log(limits.eps) < loss / terms <= -math.log(limits.smallest_normal) * (1.0 + rtol)
        else:
            expected = rows * np.array(slopes)
            assert loss == pytest.approx(rows * value, rel=rtol, abs=rtol)
            np.testing.assert_allclose(gradients["0.bias"], expected, rtol, rtol)
            np.testing.assert_allclose(gradients["0.weight"], np.outer([z, -z], expected), rtol, rtol)


@DTYPES
@ALL_LOSSES
def test_loss_and_gradients_are_finite(name: str, dtype: str, backend_name: str) -> None:
    model, limits = compiled(name, backend_name, dtype), np.finfo(dtype)
    large = float(limits.max) ** (0.25 if "squar" in name else 0.75)
    for z in (0.0, 1e4, float(limits.smallest_subnormal), float(limits.smallest_normal) / 2, large):
        for weights in ([1.0, 1.0, 1.0], [10.0, 10.0, 0.1], [0.0, 0.0, 1e-30]):
            assert_finite(model.loss_and_gradients([[z, -z], [-z, z], [z, z]], targets(model), weights), (z, weights))


@ALL_LOSSES
def test_training_continues_from_extreme_values(name: str, backend_name: str) -> None:
    model = logits(name, backend_name, "float32")
    x = [[1e4, -1e4], [-1e4, 1e4], [1e-40, 0.0]]
    history = model.fit(x, targets(model), optimizer=bp.Adam(1e-2), steps=3)
    assert history.steps == 3
    assert np.all(np.isfinite(history.loss))
    assert all(np.all(np.isfinite(p)) for p in model.parameters.values())


@DTYPES
@ALL_LOSSES
def test_gradients_of_one_row_and_one_output_are_finite_at_extreme_values(
    name: str, dtype: str, backend_name: str
) -> None:
    model = logits(name, backend_name, dtype, 1)
    target = {"values": [0.0], "binary": [1.0], "classes": 0}[model.network.loss.target]
    for z in (0.0, 1e4, -1e4, float(np.finfo(dtype).smallest_subnormal)):
        result = model.loss_and_gradients([[z]], [target])
        assert_finite(result, z)
        if model.network.loss.target == "classes":  # a single class is always right, and nothing can be learned
            assert result[0] == 0.0
            assert not any(np.any(gradient) for gradient in result[1].values())


def middle() -> list[bp.Layer]:
    """Return every kind of hidden layer."""
    norms = [bp.BatchNorm(), bp.LayerNorm(), bp.Dropout(0.5), bp.Residual([bp.Dense(2, "tanh", weight_init=EYE)])]
    return [*(bp.Activation(name) for name in ACTIVATIONS if KERNELS[name].backward), *norms]


@pytest.mark.thorough(keep=25)
@DTYPES
@pytest.mark.parametrize("layer", middle(), ids=lambda layer: getattr(layer, "name", type(layer).__name__))
def test_gradients_through_every_layer_are_finite_at_extreme_values(
    layer: bp.Layer, dtype: str, backend_name: str
) -> None:
    limits = np.finfo(dtype)
    layers = [bp.Dense(2, weight_init=EYE), layer, bp.Dense(2, weight_init=EYE)]
    model = bp.Model(bp.Network(2, layers, "mean_absolute_error"), backend_name, dtype)
    for x in (0.0, 1e4, float(limits.smallest_subnormal), float(limits.smallest_normal) / 2, float(limits.max) ** 0.75):
        for weight in (EYE, 0.0 * EYE):
            model.parameters = {"0.weight": weight, "2.weight": weight}
            assert_finite(model.loss_and_gradients([[x, -x], [-x, x], [0, x]], [[0.5, 0.5]] * 3), (x, weight))


@DTYPES
@ALL_LOSSES
def test_row_of_weight_0_has_no_effect_however_large(name: str, dtype: str, backend_name: str) -> None:
    model, z = compiled(name, backend_name, dtype), float(np.finfo(dtype).max) ** 0.75
    loss, gradients = model.loss_and_gradients([[z, -z], [2.0, 1.0], [1.0, 3.0]], targets(model), [0.0, 1.0, 1.0])
    rest, expected = model.loss_and_gradients([[0.0, 0.0], [2.0, 1.0], [1.0, 3.0]], targets(model), [0.0, 1.0, 1.0])
    assert loss == rest
    for parameter, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, expected[parameter])


@DTYPES
def test_overflowing_square_is_reported(dtype: str, backend_name: str) -> None:
    """Half of 1e30 squared is 5e59, and float32 ends at 3e38: the loss is infinite, and its gradient is still z itself."""
    model, z = logits("half_sum_squares", backend_name, dtype), float(np.finfo(dtype).max) ** 0.75
    loss, gradients = model.loss_and_gradients([[z, -z]] * 3, targets(model), [1.0, 1.0, 1.0])
    assert loss == math.inf
    np.testing.assert_allclose(gradients["0.bias"], [3.0 * z, -3.0 * z], value_rtol(dtype))
    before = model.parameters
    with pytest.raises(bp.NonFiniteError, match="loss"):
        model.fit([[z, -z]] * 3, targets(model), optimizer=bp.SGD(1e-3), steps=3)
    for name, parameter in model.parameters.items():
        np.testing.assert_array_equal(parameter, before[name])
