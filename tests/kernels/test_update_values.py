"""Update rules against plain Python loops over numbers; helpers by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bpengine.kernels import KERNELS
from tests.tolerances import value_rtol

LR = 0.1
GRADIENTS = [0.5, -2.0, 0.0, 1.5, 1e-6, 3.0]


def sgd(w: float, gradients: list[float]) -> float:
    for d in gradients:
        w -= LR * d
    return w


def momentum(w: float, gradients: list[float], mu: float = 0.9) -> float:
    """Polyak's form, with the learning rate inside of the velocity: w' = w - lr d + mu (w - w_before)."""
    before = w
    for d in gradients:
        w, before = w - LR * d + mu * (w - before), w
    return w


def nesterov(w: float, gradients: list[float], mu: float = 0.9) -> float:
    """Sutskever's form, gradient at the looked-ahead point: v = mu v - lr d, theta += v; w is theta + mu v."""
    theta, v = w, 0.0
    for d in gradients:
        v = mu * v - LR * d
        theta += v
    return theta + mu * v


def rmsprop(w: float, gradients: list[float]) -> float:
    v = 0.0
    for d in gradients:
        v = 0.9 * v + 0.1 * d * d
        w -= LR * d / (math.sqrt(v) + 1e-8)
    return w


def adam(w: float, gradients: list[float], decay: float = 0.0) -> float:
    """Weighted means over the whole past instead of running ones."""
    for t in range(1, len(gradients) + 1):
        past = gradients[:t]
        m = math.fsum(0.1 * 0.9 ** (t - 1 - i) * d for i, d in enumerate(past)) / (1.0 - 0.9**t)
        v = math.fsum(0.001 * 0.999 ** (t - 1 - i) * d * d for i, d in enumerate(past)) / (1.0 - 0.999**t)
        w -= LR * (m / (math.sqrt(v) + 1e-8) + decay * w)
    return w


def adamw(w: float, gradients: list[float]) -> float:
    return adam(w, gradients, decay=0.01)


RULES: dict[str, Any] = {f.__name__: f for f in (sgd, momentum, nesterov, rmsprop, adam, adamw)}


def train(name: str, w: Any, gradients: list[float], dtype: Any = np.float64, **options: Any) -> Any:
    kernel = KERNELS[name]
    w = np.asarray(w, dtype=dtype)
    slots = tuple(np.zeros_like(w) for _ in kernel.outputs[1:])
    lr = np.full(1, LR, dtype=dtype)
    for step, d in enumerate(gradients, start=1):
        w, *slots = kernel.forward(np, w, np.full_like(w, d), *slots, np.full(1, step, dtype=dtype), lr, **options)
    return w


def test_every_update_rule_is_compared_with_a_loop() -> None:
    assert RULES.keys() == {k.name for k in KERNELS.values() if k.kind == "update"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RULES)
def test_every_update_rule_gives_the_values_of_a_plain_loop(name: str, dtype: Any) -> None:
    got = train(name, [[1.0, -2.0]], GRADIENTS, dtype)
    expected = [[RULES[name](1.0, GRADIENTS), RULES[name](-2.0, GRADIENTS)]]
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=value_rtol(dtype, 64))


def test_rules_with_their_options_off_are_simpler_rules() -> None:
    np.testing.assert_array_equal(train("momentum", [1.0], GRADIENTS, momentum=0.0), train("sgd", [1.0], GRADIENTS))
    np.testing.assert_array_equal(train("nesterov", [1.0], GRADIENTS, momentum=0.0), train("sgd", [1.0], GRADIENTS))
    np.testing.assert_array_equal(train("adamw", [1.0], GRADIENTS, weight_decay=0.0), train("adam", [1.0], GRADIENTS))


@pytest.mark.parametrize("name", RULES)
def test_a_zero_gradient_at_rest_moves_nothing_but_decay(name: str) -> None:
    moved = train(name, [1.0], [0.0])
    assert moved[0] == (1.0 - LR * 0.01 if name == "adamw" else 1.0)


def test_first_steps_of_adam_and_rmsprop_have_the_values_computed_by_hand() -> None:
    np.testing.assert_allclose(train("adam", [1.0], [5.0]), [0.9], rtol=1e-8)
    np.testing.assert_allclose(train("rmsprop", [1.0], [5.0]), [1.0 - LR / math.sqrt(0.1)], rtol=1e-8)


def helper(name: str, *args: Any, **options: Any) -> Any:
    return KERNELS[name].forward(np, *args, **options)


def test_global_norm_and_clipping_give_the_values_computed_by_hand() -> None:
    grads = np.array([[3.0, 0.0]]), np.array([4.0]), np.array([[12.0]])
    norm = helper("global_norm", *grads)
    assert norm.shape == (1,)
    assert norm[0] == 13.0
    clipped = [helper("clip_by_global_norm", norm, d, max_norm=6.5) for d in grads]
    for got, d in zip(clipped, grads, strict=True):
        np.testing.assert_array_equal(got, d / 2.0)
    np.testing.assert_array_equal(helper("clip_by_global_norm", norm, grads[0], max_norm=13.0), grads[0])
    np.testing.assert_array_equal(helper("clip_by_global_norm", norm, grads[0], max_norm=1e9), grads[0])
    nothing = np.zeros(3)
    np.testing.assert_array_equal(
        helper("clip_by_global_norm", helper("global_norm", nothing), nothing, max_norm=1.0), nothing
    )


def test_step_size_moving_average_and_advance_give_the_values_computed_by_hand() -> None:
    change = helper("step_size", np.array([[1.0, 5.0]]), np.array([[1.5, 2.0]]))
    np.testing.assert_array_equal(change, [3.0])
    average = helper("moving_average", np.array([10.0, 0.0]), np.array([20.0, 1.0]), momentum=0.75)
    np.testing.assert_array_equal(average, [12.5, 0.25])
    old, new, one_row = np.array([10.0]), np.array([20.0]), np.array([0.0, 3.0, 0.0])
    for least, expected in ((1, 12.5), (2, 10.0)):
        kept = helper("moving_average", old, new, one_row, momentum=0.75, least=least)
        np.testing.assert_array_equal(kept, [expected])
    np.testing.assert_array_equal(helper("advance", np.array([7, 41], dtype=np.uint32)), [7, 42])
    np.testing.assert_array_equal(helper("advance", np.array([7, 2**32 - 1], dtype=np.uint32)), [7, 0])
