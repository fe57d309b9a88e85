"""Kinks of a user's own code: they cause no false alarms, stated or not, and hide no errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.check import Report, check_gradients
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import elementwise

WITHOUT_JAX = ("differences", "inner products")
DISTANCES = [0.0, 1e-18, -1e-12, 1e-9, 3e-8, 1e-6, 1e-4]


def leaky_fwd(xp: Any, x: Any) -> Any:
    return xp.maximum(x, 0.1 * x), x  # autodiff takes the mean of both slopes at 0


def slope(xp: Any, x: Any) -> Any:
    return xp.where(x > 0, 1.0, 0.1)


OWN = elementwise(
    "my_leaky", leaky_fwd, lambda xp, x, dy: dy * slope(xp, x), flops=(2, 2), formula={}, source="none"
)  # fmt: skip
STATED = replace(OWN, kink_at=lambda xp, x: ("left", x))
WRONG: dict[str, Callable[..., Any]] = {
    "a factor 2": lambda xp, x, dy: 2 * dy * slope(xp, x),
    "one side": lambda xp, x, dy: dy * xp.where(x > 0, 1.0, 0.2),
    "the sign": lambda xp, x, dy: -dy * slope(xp, x),
}


def point(rng: Any, distance: float) -> Any:
    """Return an input with a whole row and another element that far from the kink."""
    x = rng.choice([-1.0, 1.0], (4, 3)) * rng.uniform(0.2, 2.0, (4, 3))
    x[0], x[2, 1] = distance, distance
    return x


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kernel", [OWN, STATED], ids=["not stated", "stated"])
def test_on_or_near_a_kink_there_is_no_false_alarm(kernel: Any, distance: float, rng: Any) -> None:
    report = check_gradients(kernel, point(rng, distance), oracles=WITHOUT_JAX)
    assert report.passed, str(report)
    wanted = {"differences": 12, "inner products": 3}
    assert all(v.compared + v.ill == wanted[v.oracle] for v in report.verdicts if v.oracle in wanted)
    assert not any(v.ill for v in report.verdicts) or distance == 3e-8
    if abs(distance) < 1e-8:
        assert report.kinks.left_out == report.kinks.aside == 4 + 3
        assert set(report.kinks.elements) >= {"input, row 0, feature 0", "input, row 2, feature 1"}
        assert "found near the point and left out: 7 comparisons (input, row 0, feature 0; " in str(report)


@pytest.mark.parametrize("distance", [0.0, 1e-18, 1e-9])
@pytest.mark.parametrize("kernel", [OWN, STATED], ids=["not stated", "stated"])
def test_autodiff_raises_no_false_alarm_at_kinks(kernel: Any, distance: float, rng: Any, jax: Any) -> None:
    report = check_gradients(kernel, point(rng, distance), oracles="autodiff")
    assert report.passed, str(report)
    assert report.kinks.left_out == (4 if kernel is OWN and distance == 0 else 0)
    assert report.kinks.exact == (4 if kernel is STATED and distance == 0 else 0)


@pytest.mark.parametrize("oracles", [WITHOUT_JAX, "autodiff"], ids=["without JAX", "autodiff"])
@pytest.mark.parametrize(
    "x", [lambda rng: point(rng, 0.0), lambda rng: np.zeros((4, 3))], ids=["some at it", "all at it"]
)
@pytest.mark.parametrize("way", WRONG)
def test_a_wrong_backward_cannot_hide_behind_a_kink(way: str, x: Any, oracles: Any, rng: Any, jax: Any) -> None:
    report = check_gradients(replace(OWN, backward=WRONG[way]), x(rng), oracles=oracles)
    assert not report.passed
    assert report.guilty
    assert {"a factor 2": "ratio 2", "one side": "ratio 2", "the sign": "ratio -1"}[way] in str(report.guilty)


@pytest.mark.parametrize("value", [np.nan, 5.0, -1.0])
def test_the_value_at_the_kink_must_be_near_the_slopes_beside_it(value: float, rng: Any, jax: Any) -> None:
    wrong = replace(OWN, backward=lambda xp, x, dy: dy * xp.where(x == 0, value, slope(xp, x)))
    report = check_gradients(wrong, point(rng, 0.0), oracles="autodiff")
    assert not report.passed
    assert report.failures[0].worst
    assert report.failures[0].worst.element.startswith(("input, row 0", "input, row 2, feature 1"))
    outside = "at a kink, and not among the slopes beside it"
    assert report.failures[0].worst.cause.startswith(outside if np.isfinite(value) else "it is not finite")


def test_value_at_the_kink_must_be_finite_without_jax(rng: Any) -> None:
    wrong = replace(OWN, backward=lambda xp, x, dy: dy * slope(xp, x) * x / x)
    report = check_gradients(wrong, point(rng, 0.0), oracles="differences")
    assert not report.passed
    assert "hand nan" in str(report)
    assert "it is not finite" in str(report)


def test_stated_convention_is_checked(rng: Any, jax: Any) -> None:
    right = replace(OWN, backward=lambda xp, x, dy: dy * xp.where(x >= 0, 1.0, 0.1))
    for kernel, side, passed in (
        (OWN, "left", True),
        (OWN, "right", False),
        (right, "right", True),
        (right, "left", False),
    ):
        stated = replace(kernel, kink_at=lambda xp, x, side=side: (side, x))
        assert check_gradients(stated, point(rng, 0.0)).passed == passed, side


def test_kinks_at_several_points_are_found(rng: Any, jax: Any) -> None:
    six = elementwise(
        "relu6", lambda xp, x: (xp.clip(x, 0.0, 6.0), x), lambda xp, x, dy: dy * xp.astype((x > 0) & (x < 6), x.dtype),
        flops=(2, 3), formula={}, source="none",
    )  # fmt: skip
    x = rng.uniform(-3.0, 9.0, (3, 4))
    x[0, :2] = 0.0, 6.0
    assert check_gradients(six, x).passed
    assert check_gradients(replace(six, kink_at=lambda xp, x: ("left", x)), np.abs(x)).kinks.exact == 1


def test_wrongly_stated_kink_is_refused() -> None:
    for kink_at in (lambda xp, x: ("left", x[0]), lambda xp, x: ("down", x)):
        with pytest.raises(
            bp.ConfigError, match=r"'my_leaky' requires kink_at to return a side \(left, right, middle, none\)"
        ):
            check_gradients(replace(OWN, kink_at=kink_at), np.ones((2, 2)))


def at_the_kink(kind: str, value: float) -> Any:
    """Return a kernel that is right everywhere but at its kink, where its slope is the value."""
    forward, low, high, kink = {
        "relu": (lambda xp, x: (xp.maximum(x, 0.0 * x), x), 0.0, 1.0, 0.0),
        "abs": (lambda xp, x: (xp.abs(x), x), -1.0, 1.0, 0.0),
        "clip": (lambda xp, x: (xp.clip(x, None, 1.0), x), 1.0, 0.0, 1.0),
    }[kind]

    def backward(xp: Any, x: Any, dy: Any) -> Any:
        return dy * xp.where(x == kink, value, xp.where(x < kink, low, high))

    return elementwise(f"my_{kind}", forward, backward, flops=(1, 2), formula={}, source="none")


SEEDS = range(20)


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("oracles", ["autodiff", "differences", "inner products"])
@pytest.mark.parametrize(
    ("kind", "value", "right"),
    [
        ("relu", 0.0, True), ("relu", 0.5, True), ("relu", 1.0, True), ("relu", 1.5, False), ("relu", 2.0, False),
        ("abs", 0.0, True), ("abs", -1.0, True), ("abs", 1.5, False), ("abs", -3.0, False),
        ("clip", 0.0, True), ("clip", 1.0, True), ("clip", 1.5, False), ("clip", -0.1, False),
    ],
)  # fmt: skip
def test_only_values_between_the_one_sided_slopes_pass_at_a_kink(
    kind: str, value: float, right: bool, oracles: str, jax: Any
) -> None:
    kernel, x = at_the_kink(kind, value), np.full((2, 2), 1.0 if kind == "clip" else 0.0)
    for seed in SEEDS if oracles == "inner products" else (0, 1):
        report = check_gradients(kernel, x, seed=seed, oracles=oracles, perturbed=False)
        assert report.passed == right, str(report)
        assert right or "at a kink, and not among the slopes beside it" in str(report.guilty)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("oracles", ["autodiff", "differences", "inner products"])
@pytest.mark.parametrize("kernel", ["my_relu", "relu", "leaky_relu"])
def test_both_sides_of_a_kink_are_checked_with_every_seed(kernel: str, oracles: str, jax: Any) -> None:
    """All inputs lie on the kink; the backward is right there and on one side, and wrong on the other."""
    right = at_the_kink("relu", 0.0) if kernel == "my_relu" else KERNELS[kernel]
    backward = right.backward
    assert backward

    def wrong(xp: Any, residual: Any, dy: Any) -> Any:
        return backward(xp, residual, dy) * xp.where(_of(residual) > 0, 1.5, 1.0)

    for seed in SEEDS if oracles == "inner products" else (0, 1):
        x = np.zeros((1, 1))
        assert check_gradients(right, x, seed=seed, oracles=oracles, perturbed=False).passed
        report = check_gradients(replace(right, backward=wrong), x, seed=seed, oracles=oracles, perturbed=False)
        assert not report.passed, str(report)
        assert "ratio 1.5" in str(report.guilty)


def _of(residual: Any) -> Any:
    """Return what tells the side of an element, of one of these kernels' residuals."""
    return residual[0] if isinstance(residual, tuple) else residual


@dataclass(frozen=True)
class Mixed(bp.Layer):
    """y = relu(x w) in code of one's own, with a convention at 0, and perhaps through a second weight."""

    at: float = 0.0
    twice: bool = False

    def init(self, rng: Any, inputs: int) -> Any:
        return {"w": rng.normal(size=(inputs, inputs)), "v": rng.normal(size=(inputs, inputs))}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        z = x @ params["w"]
        h = ops.xp.maximum(z, 0.0 * z)
        return (h @ params["v"] if self.twice else h), (x, z, h, params["w"], params["v"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        xp, (x, z, h, w, v) = ops.xp, residual
        dv = h.T @ dy if self.twice else 0.0 * v
        dz = (dy @ v.T if self.twice else dy) * xp.where(z == 0, self.at, xp.astype(z > 0, z.dtype))
        return dz @ w.T, {"w": x.T @ dz, "v": dv}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_kinks_that_share_their_inputs_raise_no_false_alarm(at: float, twice: bool, rng: Any, jax: Any) -> None:
    x = rng.normal(size=(4, 3))
    x[0] = 0.0
    for seed in range(5):
        report = check_gradients(Mixed(at, twice), x, seed=seed, perturbed=False)
        assert report.passed, str(report)


def test_shared_kinks_do_not_hide_a_wrong_slope(rng: Any) -> None:
    for seed in SEEDS:
        report = check_gradients(Mixed(4.0), np.zeros((2, 3)), seed=seed, oracles="inner products", perturbed=False)
        assert "gradient of x: input, row" in str(report.guilty)
        assert not report.passed


@dataclass(frozen=True)
class Folded(bp.Layer):
    """y = |x|, or sqrt(x^2), of which autodiff has no slope at 0; the backward may be wrong by a factor."""

    root: bool = False
    factor: float = 1.0

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return ops.xp.sqrt(x * x) if self.root else ops.xp.abs(x), x, running

    def backward(self, ops: Any, x: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return self.factor * dy * ops.xp.sign(x), {}


def in_a_network(layer: bp.Layer, rng: Any, **options: Any) -> Report:
    """Check a network in which every unit is at the kink for two of the rows."""
    network = bp.Network(3, [bp.Dense(4), layer, bp.Dense(2)], "softmax_cross_entropy")
    x = rng.normal(size=(6, 3))
    x[:2] = 0.0
    return check_gradients(bp.Model(network, **options), x, np.array([0, 0, 1, 0, 1, 1]))


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("root", [False, True])
def test_own_layer_with_kinks_raises_no_false_alarm_in_a_network(root: bool, dtype: str, rng: Any, jax: Any) -> None:
    report = in_a_network(Folded(root), rng, dtype=dtype)
    assert report.passed, str(report)
    assert report.kinks.left_out > 0
    assert any(element.startswith("layer 0, bias of unit") for element in report.kinks.elements)


def test_wrong_backward_of_an_own_loss_is_caught_and_named(rng: Any, jax: Any) -> None:
    report = in_a_network(Folded(factor=0.5), rng, dtype="float64")
    assert not report.passed
    assert report.guilty
    assert (report.guilty.place, report.guilty.function) == ("1", "Folded.backward")
    assert "ratio 0.5: a factor 2 is missing" in str(report.guilty)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("inside", [False, True])
def test_slope_at_the_kink_is_checked_in_a_network(inside: bool, rng: Any) -> None:
    for value, right in ((0.0, True), (1.5, False)):
        layer: bp.Layer = Half(at_the_kink("abs", value))
        layer = bp.Residual([bp.Dense(4), layer]) if inside else layer
        network = bp.Network(3, [bp.Dense(4), layer, bp.Dense(2)], "half_sum_squares")
        x = rng.normal(size=(6, 3))
        x[:2] = 0.0
        report = check_gradients(network, x, rng.normal(size=(6, 2)), oracles="inner products", perturbed=False)
        assert report.passed == right, str(report)
        if not right:
            place = "1.1" if inside else "1"
            assert {v.array for v in report.failures} == {f"{place}.x"}
            assert report.failures[0].worst
            assert report.failures[0].worst.element.startswith(f"layer {place}, input, row ")
            assert report.guilty
            assert report.guilty.place == place


@pytest.mark.thorough
def test_kinks_that_cancel_along_a_line_raise_no_false_alarm(rng: Any) -> None:
    """Of |x0| - |x1| with equal steps the line through 0 is straight, and its slope is not that of any convention."""
    pair = elementwise(
        "pair", lambda xp, x: (xp.maximum(x, 0.0 * x), x), lambda xp, x, dy: dy * xp.astype(x >= 0, x.dtype),
        flops=(1, 2), formula={}, source="none",
    )  # fmt: skip
    for seed in range(20):
        network = bp.Network(2, [Half(pair), bp.Dense(1, weight_init=[[1.0], [-1.0]])], "half_sum_squares")
        report = check_gradients(network, np.zeros((1, 2)), np.ones((1, 1)), seed=seed, oracles="inner products")
        assert report.passed, str(report)


@dataclass(frozen=True)
class Half(bp.Layer):
    """A layer that calls a kernel of one's own."""

    kernel: Any

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return *self.kernel.forward(ops.xp, x), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return self.kernel.backward(ops.xp, residual, dy), {}


@pytest.mark.parametrize(("value", "right"), [(0.0, True), (0.7, True), (-3.0, False), (2.0, False)])
def test_slope_of_an_own_loss_at_its_kink_must_lie_between_the_one_sided_slopes(value: float, right: bool) -> None:
    """A perfect fit under |y - target|: what the backward says at 0 must lie between -1 and 1."""

    def backward(xp: Any, diff: Any, dloss: Any) -> Any:
        return xp.where(diff == 0, xp.asarray(value, dtype=diff.dtype), xp.sign(diff)) * (dloss / diff.size)

    loss = bp.CustomLoss(lambda xp, y, target: (xp.mean(xp.abs(y - target)), y - target), backward, name="own_error")
    model = bp.Model(bp.Network(2, [bp.Dense(1)], loss), dtype="float64", seed=0)
    x = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, -1.0]])
    report = model.check(x, model.forward(x), perturbed=False)
    assert report.passed == right, str(report)
    if not right:
        assert [verdict.array for verdict in report.failures] == ["loss.y"]
        assert str(report.guilty).startswith("own_error_bwd in the loss")
        assert "the loss, y, row " in str(report)
