"""Losses against plain loops over closed forms; reductions, weights, extremes, one class, one sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bpengine.errors import ConfigError
from bpengine.kernels import KERNELS
from tests.tolerances import value_rtol

LOSSES = [k.name for k in KERNELS.values() if k.kind == "loss"]


def huber(d: float, delta: float = 1.0) -> float:
    return 0.5 * d * d if abs(d) <= delta else delta * (abs(d) - 0.5 * delta)


PER_ELEMENT: dict[str, Any] = {
    "sum_squared_residuals": lambda y, t: (t - y) ** 2,
    "half_sum_squares": lambda y, t: 0.5 * (t - y) ** 2,
    "mean_squared_error": lambda y, t: (t - y) ** 2,
    "mean_absolute_error": lambda y, t: abs(t - y),
    "huber": lambda y, t: huber(y - t),
    "binary_cross_entropy": lambda y, t: -math.log(y if t else 1.0 - y),
    "sigmoid_cross_entropy": lambda y, t: math.log1p(math.exp(-y if t else y)),
}


def per_sample(name: str, y: Any, target: Any) -> list[float]:
    """Return the loss of each row, summed over its outputs, by loops."""
    if name in PER_ELEMENT:
        return [
            sum(PER_ELEMENT[name](float(a), float(b)) for a, b in zip(r, s, strict=True))
            for r, s in zip(y, target, strict=True)
        ]
    rows = (
        y if name == "categorical_cross_entropy" else [[v / sum(map(math.exp, r)) for v in map(math.exp, r)] for r in y]
    )
    return [-sum(t * math.log(p) for t, p in zip(s, r, strict=True)) for r, s in zip(rows, target, strict=True)]


def reduced(name: str, rows: list[float], weights: Any, reduction: str, outputs: int) -> float:
    total = sum(w * v for w, v in zip(weights, rows, strict=True))
    per_row = outputs if reduction == "mean" and name in PER_ELEMENT else 1
    return total if reduction == "sum" else total / (sum(weights) * per_row)


def data(name: str, rng: Any, batch: int = 5, outputs: int = 3) -> tuple[Any, Any]:
    kernel = KERNELS[name]
    y = rng.normal(size=(batch, outputs)) * 2.0
    if kernel.output == "probabilities":
        y = rng.uniform(0.05, 0.95, size=(batch, outputs))
    if kernel.target == "binary":
        return y, (rng.random((batch, outputs)) < 0.5).astype(float)
    if kernel.target == "classes":
        return y, np.eye(outputs)[rng.integers(0, outputs, batch)]
    return y, rng.normal(size=(batch, outputs))


def loss_and_gradient(name: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    loss, residual = KERNELS[name].forward(np, *args, **options)
    return loss, KERNELS[name].backward(np, residual, np.ones_like(loss))


NAME_AND_REDUCTION = pytest.mark.parametrize(
    ("name", "reduction"), [(name, reduction) for name in LOSSES for reduction in KERNELS[name].reductions]
)


@pytest.mark.parametrize("outputs", [1, 3])
@NAME_AND_REDUCTION
def test_every_loss_has_the_value_of_its_definition(name: str, reduction: str, outputs: int, rng: Any) -> None:
    y, target = data(name, rng, outputs=outputs)
    rows = per_sample(name, y, target)
    for weights in (None, np.array([0.5, 2.0, 0.0, 1.0, 3.0])):
        expected = reduced(name, rows, np.ones(5) if weights is None else weights, reduction, outputs)
        loss, _ = loss_and_gradient(name, y, target, weights, reduction=reduction)
        np.testing.assert_allclose(loss, expected, rtol=value_rtol(np.float64, 15), atol=value_rtol(np.float64))


@NAME_AND_REDUCTION
def test_weight_two_counts_a_row_twice_and_weight_zero_leaves_it_out(name: str, reduction: str, rng: Any) -> None:
    y, target = data(name, rng, batch=3)
    loss, dy = loss_and_gradient(name, y, target, np.array([2.0, 0.0, 1.0]), reduction=reduction)
    rows = [0, 0, 2]
    repeated, d_repeated = loss_and_gradient(name, y[rows], target[rows], reduction=reduction)
    np.testing.assert_allclose(loss, repeated, rtol=value_rtol(np.float64))
    np.testing.assert_allclose(dy[0], d_repeated[0] + d_repeated[1], rtol=value_rtol(np.float64))
    np.testing.assert_array_equal(dy[1], np.zeros(3))
    np.testing.assert_allclose(dy[2], d_repeated[2], rtol=value_rtol(np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_extremes_are_finite(name: str, dtype: Any) -> None:
    kernel = KERNELS[name]
    denormal = float(np.finfo(dtype).smallest_subnormal)
    extreme = [0.0, 1.0, denormal] if kernel.output == "probabilities" else [1e4, -1e4, denormal]
    y = np.array([extreme, extreme[::-1], [extreme[0]] * 3], dtype=dtype)
    for batch in (y, y[:1], y[:, :1], y[:1, :1]):
        for target in (np.zeros_like(batch), np.ones_like(batch)):
            loss, dy = loss_and_gradient(name, batch, target)
            assert loss.dtype == dy.dtype == dtype
            assert np.isfinite(loss)
            assert np.all(np.isfinite(dy))


@pytest.mark.parametrize("name", ["categorical_cross_entropy", "softmax_cross_entropy"])
def test_class_numbers_are_one_hot_targets(name: str, rng: Any) -> None:
    y, target = data(name, rng)
    for dtype in (np.int32, np.int64, np.uint8):
        loss, dy = loss_and_gradient(name, y, np.argmax(target, axis=1).astype(dtype))
        expected, d_expected = loss_and_gradient(name, y, target)
        np.testing.assert_array_equal(loss, expected)
        np.testing.assert_array_equal(dy, d_expected)


def test_softmax_cross_entropy_of_logits_is_categorical_of_softmax(rng: Any) -> None:
    y = rng.normal(size=(4, 3))
    target = rng.uniform(size=(4, 3))  # rows that do not sum to one
    loss, dy = loss_and_gradient("softmax_cross_entropy", y, target)
    p, residual = KERNELS["softmax"].forward(np, y)
    expected, dp = loss_and_gradient("categorical_cross_entropy", p, target)
    np.testing.assert_allclose(loss, expected, rtol=value_rtol(np.float64))
    chained = KERNELS["softmax"].backward(np, residual, dp)
    np.testing.assert_allclose(dy, chained, rtol=value_rtol(np.float64), atol=value_rtol(np.float64))


def test_sigmoid_cross_entropy_of_logits_is_binary_of_sigmoid(rng: Any) -> None:
    y, target = data("sigmoid_cross_entropy", rng)
    loss, dy = loss_and_gradient("sigmoid_cross_entropy", y, target)
    p, residual = KERNELS["sigmoid"].forward(np, y)
    expected, dp = loss_and_gradient("binary_cross_entropy", p, target)
    np.testing.assert_allclose(loss, expected, rtol=value_rtol(np.float64, 15))
    chained = KERNELS["sigmoid"].backward(np, residual, dp)
    np.testing.assert_allclose(dy, chained, rtol=value_rtol(np.float64, 15), atol=value_rtol(np.float64))


def test_loss_of_confident_logits_keeps_its_precision() -> None:
    y, one = np.array([[50.0]]), np.array([[1.0]])
    np.testing.assert_allclose(loss_and_gradient("sigmoid_cross_entropy", y, one)[0], math.exp(-50.0), rtol=1e-15)
    loss, dy = loss_and_gradient("sigmoid_cross_entropy", -1e4 * one, one)
    assert (loss, dy[0, 0]) == (1e4, -1.0)
    loss, dy = loss_and_gradient("softmax_cross_entropy", np.array([[1e4, -1e4]]), np.array([1]))
    assert loss == 2e4
    np.testing.assert_array_equal(dy, [[1.0, -1.0]])
    loss, dy = loss_and_gradient("softmax_cross_entropy", np.array([[3.0], [-1e4]]), np.array([0, 0]))
    assert loss == 0.0
    np.testing.assert_array_equal(dy, [[0.0], [0.0]])


def test_slopes_of_losses_at_their_kinks_are_the_stated_ones() -> None:
    same = np.array([[1.5, -2.0]])
    np.testing.assert_array_equal(loss_and_gradient("mean_absolute_error", same, same)[1], [[0.0, 0.0]])
    y, zero = np.array([[1.0, -1.0, 3.0, -3.0, 0.5]]), np.zeros((1, 5))
    loss, dy = loss_and_gradient("huber", y, zero, reduction="sum")
    assert loss == 0.5 + 0.5 + 2.5 + 2.5 + 0.125
    np.testing.assert_array_equal(dy, [[1.0, -1.0, 1.0, -1.0, 0.5]])
    loss, dy = loss_and_gradient("huber", y, zero, delta=2.0, reduction="sum")
    assert loss == 0.5 + 0.5 + 4.0 + 4.0 + 0.125
    np.testing.assert_array_equal(dy, [[1.0, -1.0, 2.0, -2.0, 0.5]])


@pytest.mark.parametrize("name", LOSSES)
def test_an_unknown_reduction_is_refused(name: str, rng: Any) -> None:
    with pytest.raises(ConfigError, match=r"unknown reduction 'meen'. Did you mean 'mean'"):
        loss_and_gradient(name, *data(name, rng), reduction="meen")


@pytest.mark.parametrize("bias_row", [None, "first", "last"])
def test_penalties_have_the_value_and_gradient_of_their_definition(bias_row: str | None) -> None:
    w = np.array([[1.0, -2.0], [0.0, 4.0], [-3.0, 0.5]])
    kept = {None: [1.0, 1.0, 1.0], "first": [0.0, 1.0, 1.0], "last": [1.0, 1.0, 0.0]}[bias_row]
    rows = np.array(kept)[:, None]
    l2, l1 = KERNELS["l2"], KERNELS["l1"]
    loss, residual = l2.forward(np, w, strength=0.5, bias_row=bias_row)
    assert loss == 0.25 * sum(k * sum(v * v for v in row) for k, row in zip(kept, w.tolist(), strict=True))
    np.testing.assert_array_equal(l2.backward(np, residual, np.float64(2.0)), w * rows)
    loss, residual = l1.forward(np, w, strength=0.5, bias_row=bias_row)
    assert loss == 0.5 * sum(k * sum(abs(v) for v in row) for k, row in zip(kept, w.tolist(), strict=True))
    np.testing.assert_array_equal(
        l1.backward(np, residual, np.float64(2.0)), np.array([[1, -1], [0, 1], [-1, 1]]) * rows
    )


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_weights_of_samples_divide_a_penalty_by_their_sum(name: str) -> None:
    kernel, w = KERNELS[name], np.array([[1.0, -2.0], [0.0, 4.0]])
    for weights, strength in (([2.0, 0.0, 1.0, 1.0], 0.125), ([0.0, 0.0], 0.0)):
        loss, residual = kernel.forward(np, w, np.array(weights), strength=0.5, bias_row="first")
        expected, theirs = kernel.forward(np, w, strength=strength, bias_row="first")
        assert loss == expected
        one = np.float64(1.0)
        np.testing.assert_array_equal(kernel.backward(np, residual, one), kernel.backward(np, theirs, one))


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_penalty_takes_a_vector_and_refuses_an_unknown_bias_row(name: str) -> None:
    loss, residual = KERNELS[name].forward(np, np.array([3.0]), strength=2.0)
    assert loss == {"l1": 6.0, "l2": 9.0}[name]
    assert KERNELS[name].backward(np, residual, np.float64(1.0)).shape == (1,)
    with pytest.raises(ConfigError, match=r"unknown bias_row 'firts'. Did you mean 'first'"):
        KERNELS[name].forward(np, np.ones((2, 2)), bias_row="firts")
