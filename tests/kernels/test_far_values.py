"""Far out: the largest and smallest numbers of each dtype, answers beyond doubt, batches without weight, rules without memory.

Expected values come from Python's math module, or from the limits that exact arithmetic has there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import as_host
from bpengine.kernels import KERNELS
from tests.tolerances import agreement_rtol, oracle_rtol, training_rtol, value_rtol

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
GATED = ("gelu", "gelu_tanh", "silu", "mish")
LOSSES = [k.name for k in KERNELS.values() if k.kind == "loss"]


def pair(name: str, xp: Any, *arrays: Any, **options: Any) -> tuple[Any, Any]:
    """Return a kernel's output and, for a cotangent of ones, its gradient, as NumPy arrays."""
    y, residual = KERNELS[name].forward(xp, *arrays, **options)
    backward = KERNELS[name].backward
    assert backward
    return as_host(y), as_host(backward(xp, residual, xp.ones_like(y)))


def far(dtype: str) -> Any:
    """Return distances from 45 to the largest number, (1, n)."""
    return np.append(np.geomspace(45.0, 0.9 * float(np.finfo(dtype).max), 400), np.finfo(dtype).max)[None].astype(dtype)


@DTYPES
@pytest.mark.parametrize("name", GATED)
def test_gates_are_0_and_1_far_from_zero(name: str, dtype: str, xp: Any) -> None:
    x = far(dtype)
    below = x > 800.0 if name in ("silu", "mish") else x > 0  # these are still numbers of their own before
    y, dx = pair(name, xp, xp.asarray(-x))
    np.testing.assert_array_equal(y[below], 0.0)
    np.testing.assert_array_equal(dx[below], 0.0)
    y, dx = pair(name, xp, xp.asarray(x))
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, 1.0)


@DTYPES
@pytest.mark.parametrize("name", GATED)
def test_the_oracle_agrees_at_any_distance(name: str, dtype: str, jax: Any) -> None:
    x = np.concatenate([-far(dtype), far(dtype)], axis=1)
    gradient = jax.jit(jax.grad(lambda x: jax.numpy.sum(KERNELS[name].forward(jax.numpy, x)[0])))(x)
    np.testing.assert_allclose(gradient, pair(name, np, x)[1], atol=float(np.finfo(dtype).eps) ** 2)


@DTYPES
def test_silu_and_gelu_tanh_keep_their_digits_up_to_the_cut(dtype: str) -> None:
    end = math.log(float(np.finfo(dtype).max)) - 4.0
    x = np.linspace(-end, 30.0, 301, dtype=dtype)[None]
    s = [math.exp(v) / (1.0 + math.exp(v)) if v < 0 else 1.0 / (1.0 + math.exp(-v)) for v in x[0].tolist()]
    y, dx = pair("silu", np, x)
    np.testing.assert_allclose(y[0], x[0] * np.array(s), rtol=value_rtol(dtype))
    slope = [p + v * p * (1.0 - p) for v, p in zip(x[0].tolist(), s, strict=True)]
    np.testing.assert_allclose(dx[0], slope, rtol=value_rtol(dtype), atol=value_rtol(dtype) * 0.1)
    x = np.linspace(-4.0, 4.0, 301, dtype=dtype)[None]
    wide = x.astype(np.float64)
    u = math.sqrt(8.0 / math.pi) * (wide + 0.044715 * wide**3)
    y, _ = pair("gelu_tanh", np, x)
    np.testing.assert_allclose(y, wide / (1.0 + np.exp(-u)), rtol=value_rtol(dtype, 16))


@DTYPES
def test_sigmoid_ends_in_zero_and_one(dtype: str, xp: Any) -> None:
    largest = np.finfo(dtype).max
    y, dx = pair("sigmoid", xp, xp.asarray(np.array([[-largest, -1000.0, 1000.0, largest]], dtype=dtype)))
    np.testing.assert_array_equal(y, [[0.0, 0.0, 1.0, 1.0]])
    np.testing.assert_array_equal(dx, np.zeros((1, 4)))


RULES: dict[str, tuple[str, ...]] = {
    "momentum": ("momentum",),
    "nesterov": ("momentum",),
    "rmsprop": ("decay",),
    "adam": ("beta1", "beta2"),
    "adamw": ("beta1", "beta2"),
}
FORGETFUL = [(rule, zero) for rule, names in RULES.items() for zero in sorted({names[:1], names[1:], names} - {()})]


def by_definition(rule: str, zero: tuple[str, ...], gradients: list[float]) -> float:
    """Run a rule from w = 1 with lr = 0.1, a share in `zero` being 0, and return the last w."""
    share = {"beta1": 0.9, "beta2": 0.999, "decay": 0.9} | dict.fromkeys(zero, 0.0)
    w = 1.0
    for t in range(1, len(gradients) + 1):
        past = [(t - 1 - i, d) for i, d in enumerate(gradients[:t])]
        now = gradients[t - 1]
        if rule in ("momentum", "nesterov"):
            w -= 0.1 * now
        elif rule == "rmsprop":
            w -= 0.1 * now / (abs(now) + 1e-8)
        else:
            m, v = (
                math.fsum((1.0 - b) * b**age * d**power for age, d in past) / (1.0 - b**t)
                for b, power in ((share["beta1"], 1), (share["beta2"], 2))
            )
            w -= 0.1 * (m / (math.sqrt(v) + 1e-8) + (0.01 * w if rule == "adamw" else 0.0))
    return w


@DTYPES
@pytest.mark.parametrize(("rule", "zero"), FORGETFUL, ids=str)
def test_update_rules_with_options_0_follow_their_definition(
    rule: str, zero: tuple[str, ...], dtype: str, xp: Any
) -> None:
    def array(value: float) -> Any:
        return xp.asarray([value], dtype=getattr(xp, dtype))

    kernel, gradients = KERNELS[rule], [5.0, 1.0, -2.0, 0.5]
    w, *slots = [array(1.0), *(array(0.0) for _ in kernel.arguments[2:-2])]
    for t, dw in enumerate(gradients, start=1):
        result = kernel.forward(xp, w, array(dw), *slots, array(t), array(0.1), **dict.fromkeys(zero, 0.0))
        w, *slots = result
    np.testing.assert_allclose(as_host(w), [by_definition(rule, zero, gradients)], rtol=training_rtol(dtype, 4))


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("make", [bp.Adam, bp.AdamW])
def test_a_network_learns_without_momentum(make: Any, backend: str, jax: Any, rng: Any) -> None:
    x = rng.normal(size=(32, 3))
    model = bp.Model(bp.Network(3, bp.Dense(1), "mean_squared_error"), backend, "float64")
    before = model.evaluate(x, x[:, :1])["loss"]
    model.fit(x, x[:, :1], optimizer=make(0.01, beta1=0.0), epochs=30)
    assert model.evaluate(x, x[:, :1])["loss"] < before


def sample(name: str, rng: Any, batch: int = 3) -> tuple[Any, Any]:
    y = rng.uniform(0.1, 0.9, (batch, 4))
    target = np.eye(4)[rng.integers(0, 4, batch)]
    return y, target


@pytest.mark.thorough(keep=25)
@pytest.mark.parametrize(("name", "reduction"), [(n, r) for n in LOSSES for r in KERNELS[n].reductions])
def test_a_batch_without_weight_has_no_loss_and_no_gradient(
    name: str, reduction: str, xp: Any, jax: Any, rng: Any
) -> None:
    y, target = sample(name, rng)
    none = np.zeros(3)
    loss, dy = pair(name, xp, *map(xp.asarray, (y, target, none)), reduction=reduction)
    assert loss == 0.0
    np.testing.assert_array_equal(dy, np.zeros_like(y))
    gradient = jax.jit(jax.grad(lambda y: KERNELS[name].forward(jax.numpy, y, target, none, reduction=reduction)[0]))(y)
    np.testing.assert_array_equal(gradient, np.zeros_like(y))


def test_training_goes_through_batches_without_weight(backend_name: str, rng: Any) -> None:
    """Batches of one row are the strictest case: a row of weight 0 is left out, and the others count as if alone."""
    x, weights = rng.normal(size=(12, 3)), np.array([1.0, 0.0, 2.0, 0.0, 0.0, 1.0] * 2)
    y = rng.integers(0, 2, 12)
    models = [bp.Model(bp.Network(3, bp.Dense(2), "softmax_cross_entropy"), backend_name, "float64") for _ in range(2)]
    history = models[0].fit(x, y, weights=weights, batch_size=1, epochs=1, shuffle=False, optimizer="sgd")
    models[1].fit(x[weights > 0], y[weights > 0], batch_size=1, epochs=1, shuffle=False, optimizer="sgd")
    assert np.all(np.isfinite(history.loss))
    for name, expected in models[1].parameters.items():
        np.testing.assert_allclose(models[0].parameters[name], expected, rtol=training_rtol("float64", 6))


@DTYPES
@pytest.mark.parametrize("size", [0.5, 1e-3, 1e3, "largest", "smallest", "subnormal"])
def test_global_norm_is_right_for_values_of_any_size(size: Any, dtype: str, xp: Any) -> None:
    """A right-angled box with sides 2, 3, 6 has the diagonal 7: in every unit of length."""
    limits = np.finfo(dtype)
    unit = {
        "largest": limits.max / 8,
        "smallest": limits.smallest_normal,
        "subnormal": 4096 * limits.smallest_subnormal,
    }
    u = float(unit.get(size, size))
    if size == "subnormal" and any(name in xp.__name__ for name in ("jax", "cupy")):
        u = float(limits.smallest_normal)  # XLA takes subnormal numbers for 0, CuPy's compiler those of float32
    sides = [
        xp.asarray(np.array(a, dtype=dtype) * np.array(u, dtype=dtype)) for a in ([[2.0, 0.0]], [-3.0], [6.0, 0.0])
    ]
    norm = as_host(KERNELS["global_norm"].forward(xp, *sides))
    assert norm.dtype == dtype
    np.testing.assert_allclose(norm, [7.0 * u], rtol=value_rtol(dtype))


@DTYPES
def test_global_norm_of_zero_the_largest_number_infinity_and_nan(dtype: str, xp: Any) -> None:
    def norm(*values: float) -> float:
        return float(KERNELS["global_norm"].forward(xp, xp.asarray(np.array(values, dtype=dtype)))[0])

    largest = float(np.finfo(dtype).max)
    assert norm(0.0, -0.0) == 0.0
    assert norm(0.0, -largest) == pytest.approx(largest, rel=value_rtol(dtype))
    assert norm(1.0, -math.inf) == math.inf
    assert math.isnan(norm(1.0, math.nan))


@DTYPES
def test_clipping_keeps_the_direction_of_very_large_gradients(dtype: str, xp: Any) -> None:
    u = float(np.finfo(dtype).max) ** 0.9
    gradients = [xp.asarray(np.array(a, dtype=dtype) * np.array(u, dtype=dtype)) for a in ([[2.0], [-3.0]], [[6.0]])]
    norm = KERNELS["global_norm"].forward(xp, *gradients)
    clipped = [as_host(KERNELS["clip_by_global_norm"].forward(xp, norm, d, max_norm=1.0)) for d in gradients]
    np.testing.assert_allclose(np.concatenate(clipped)[:, 0] * 7.0, [2.0, -3.0, 6.0], rtol=value_rtol(dtype))


GAPS = [0.5, 5.0, 20.0, 40.0, 60.0, 80.0]


@DTYPES
@pytest.mark.parametrize("labels", [True, False])
def test_softmax_cross_entropy_of_a_certain_answer_keeps_its_digits(dtype: str, labels: bool, xp: Any) -> None:
    """The right class leads two others by gap and gap + 1: the loss is log1p(exp(-gap) + exp(-gap - 1))."""
    for gap in GAPS:
        y = xp.asarray(np.array([[3.0 - gap, 3.0, 2.0 - gap]], dtype=dtype))
        gaps = (as_host(y)[0, 1] - as_host(y)[0, ::2]).astype(float)
        others = np.exp(-gaps)
        target = xp.asarray(np.array([1]) if labels else np.array([[0.0, 1.0, 0.0]], dtype=dtype))
        loss, dy = pair("softmax_cross_entropy", xp, y, target)
        u = math.fsum(others)
        np.testing.assert_allclose(loss, math.log1p(u), rtol=value_rtol(dtype))
        expected = [[others[0] / (1 + u), -u / (1 + u), others[1] / (1 + u)]]
        np.testing.assert_allclose(dy, expected, rtol=value_rtol(dtype))


@DTYPES
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6, 0.0])
def test_softmax_cross_entropy_of_targets_that_do_not_sum_to_one(scale: float, dtype: str, rng: Any) -> None:
    """Loss and gradient are proportional to the target, however large, beside the textbook's formulas in float64."""
    y = np.concatenate([rng.normal(size=(4, 5)) * 3.0, np.zeros((1, 5)), [[0.0, 30.0, 0.0, 0.0, 0.0]]]).astype(dtype)
    shares = np.concatenate([rng.uniform(size=(4, 5)), np.eye(5)[[0, 1]]])
    target = (scale * shares).astype(dtype)
    wide, t = y.astype(float), target.astype(float)
    p = np.exp(wide) / np.sum(np.exp(wide), axis=1, keepdims=True)
    loss, dy = pair("softmax_cross_entropy", np, y, target, reduction="sum")
    np.testing.assert_allclose(loss, -np.sum(t * np.log(p)), rtol=value_rtol(dtype, 30))
    expected = p * t.sum(axis=1, keepdims=True) - t
    np.testing.assert_allclose(dy, expected, rtol=0, atol=agreement_rtol(dtype, 5) * scale)


@pytest.mark.parametrize(
    "y", [np.zeros((2, 3)), np.array([[1.0, 1.0, -2.0], [900.0, -900.0, 900.0]])], ids=["0", "ties"]
)
def test_softmax_cross_entropy_is_smooth_where_classes_tie(y: Any, jax: Any, rng: Any) -> None:
    for target in (np.array([0, 1]), rng.uniform(size=(2, 3)), np.zeros((2, 3))):
        _, dy = pair("softmax_cross_entropy", np, y, target)
        derivative = jax.jit(jax.grad(lambda y, t=target: KERNELS["softmax_cross_entropy"].forward(jax.numpy, y, t)[0]))
        gradient = derivative(y)
        np.testing.assert_allclose(dy, gradient, rtol=0, atol=oracle_rtol())


@DTYPES
def test_where_the_smallest_number_changes_a_probability(dtype: str) -> None:
    """Added to y, it is rounded away from 4 tiny / eps on, and moves the last digit at most from half of that on."""
    limits = np.finfo(dtype)
    tiny = limits.smallest_normal * limits.dtype.type(2.0**20)
    edge = 4.0 * float(tiny) / float(limits.eps)
    above = np.geomspace(edge, 1.0, 1000).astype(dtype)
    np.testing.assert_array_equal(above + tiny, above)
    near = np.linspace(0.5 * edge, edge, 1001).astype(dtype)
    moved = near + tiny
    assert np.any(moved != near)
    assert np.all(moved <= np.nextafter(near, np.ones_like(near)))
    further = near[:1] / 8
    assert np.all(further + tiny > np.nextafter(further, np.ones_like(further)))
