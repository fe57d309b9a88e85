"""The perturbed point: what is right where a bias is 0 or a gain 1, and wrong elsewhere; special values are named."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bpengine as bp
from bpengine.check import Report, check_gradients
from bpengine.check.describe.elements import special_values
from bpengine.check.points.perturb import perturb
from bpengine.check.problems.kernel_calls import arguments
from bpengine.check.problems.subjects import kernel_problem, moved_options
from bpengine.kernels import KERNELS
from bpengine.streams import stream
from tests.training.networks import everything, labelled


@dataclass(frozen=True)
class Gain(bp.Layer):
    """y = x gain + shift, whose dx forgets the gain."""

    start: float = 1.0
    right: bool = False

    def init(self, rng: Any, inputs: int) -> Any:
        return {"gain": np.full(inputs, self.start), "shift": np.zeros(inputs)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return x * params["gain"] + params["shift"], (x, params["gain"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        x, gain = residual
        dx = dy * gain if self.right else dy
        return dx, {"gain": ops.xp.sum(dy * x, axis=0), "shift": ops.xp.sum(dy, axis=0)}


def network(**options: Any) -> bp.Network:
    return bp.Network(3, [bp.Dense(4, "tanh"), Gain(**options), bp.Dense(2)], "mean_squared_error")


@pytest.mark.parametrize("oracles", ["autodiff", "differences", "inner products"])
def test_a_forgotten_factor_that_starts_at_1_is_caught_and_named(oracles: str, rng: Any, jax: Any) -> None:
    x = rng.normal(size=(5, 3))
    report = check_gradients(Gain(), x, oracles=oracles)
    assert report.verdict().startswith("FAILED at the perturbed point only: gradients of layer Gain")
    assert {(v.array, v.point) for v in report.failures} == {("x", "perturbed")}
    assert str(report.guilty).startswith("Gain.backward, gradient of x at the perturbed point: ")
    assert report.findings()[1].startswith("at the perturbed point, ")
    if oracles != "inner products":
        assert str(report.guilty).endswith("the factor `gain` is missing")
    assert check_gradients(Gain(right=True), x, oracles=oracles).passed
    assert check_gradients(Gain(), x, oracles=oracles, perturbed=False).passed


@pytest.mark.thorough(keep=1)
def test_wrong_gradient_at_the_perturbed_point_is_found_on_every_backend(backend_name: str, rng: Any, jax: Any) -> None:
    rows = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    model = bp.Model(network(), backend_name)
    before = model.parameters
    report = check_gradients(model, *rows, oracles="autodiff")
    assert report.guilty
    assert (report.guilty.place, report.guilty.function, report.guilty.point) == ("1", "Gain.backward", "perturbed")
    assert "the factor `gain` is missing" in report.guilty.words
    assert ("own float32", "perturbed") in {(v.oracle, v.point) for v in report.failures}
    assert all(v.passed for v in report.verdicts if v.point == "given")
    assert all(np.array_equal(before[n], a) for n, a in model.parameters.items())
    assert check_gradients(bp.Model(network(right=True), backend_name), *rows, oracles="autodiff").passed


class OwnForgets(bp.Model):
    """A model whose own gradients forget the gain, where the kernels are right."""

    def loss_and_gradients(self, *rows: Any, **options: Any) -> Any:
        loss, gradients = super().loss_and_gradients(*rows, **options)
        return loss, {**gradients, "0.bias": gradients["0.bias"] / self.parameters["1.gain"]}


def test_models_own_gradients_are_checked_at_the_perturbed_point(rng: Any) -> None:
    model, rows = OwnForgets(network(right=True)), (rng.normal(size=(6, 3)), rng.normal(size=(6, 2)))
    report = check_gradients(model, *rows, oracles="inner products")
    assert [(v.array, v.oracle, v.point) for v in report.failures] == [("0.bias", "own float32", "perturbed")]


def test_own_loss_that_overflows_at_the_perturbed_point_is_reported(rng: Any) -> None:
    dense = bp.Dense(2, weight_init=np.full((3, 2), 4e18))
    model = bp.Model(bp.Network(3, [dense], "half_sum_squares"))
    report = check_gradients(model, np.ones((1, 3)), np.ones((1, 2)), oracles="inner products")
    assert "its own loss in float32 is not finite there" in report.perturbed.note


def test_report_names_both_points(rng: Any, jax: Any) -> None:
    report = check_gradients(everything(units=3), *labelled(rng, 8))
    assert report.passed, str(report)
    points = [v.point for v in report.verdicts]
    assert points.count("given") == points.count("perturbed") == len(points) // 2
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert record["perturbed"].keys() == {"judged", "value", "kinks", "note"}
    assert record["perturbed"]["judged"]
    assert record["perturbed"]["value"] != record["loss"]
    assert record["special"] == list(report.special)
    assert "0.bias is all 0" in report.special
    text = str(report)
    assert "special values: 0.bias is all 0; 1.gamma is all 1; 1.beta is all 0; " in text
    assert "a missing term or factor cannot be seen there" in text
    assert "perturbed point: everything moved by half to twice its own size, seed 0; value " in text


def test_seed_draws_the_perturbed_point(rng: Any) -> None:
    x = rng.normal(size=(3, 3))
    values = [check_gradients(bp.LayerNorm(), x, seed=s, oracles="inner products").perturbed.value for s in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    report = check_gradients(bp.LayerNorm(), x, oracles="inner products", perturbed=False)
    assert {v.point for v in report.verdicts} == {"given"}
    assert (report.perturbed.judged, report.perturbed.note) == (False, "not asked for")


@dataclass(frozen=True)
class Logarithm(bp.Layer):
    """y = log(x), which is finite for positive inputs; it may refuse all others."""

    refuses: bool = False
    only: float | None = None

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        if self.refuses and bool(np.any(x <= 0)):
            raise ValueError("log requires positive numbers")
        y = ops.xp.log(x)
        return (y if self.only is None else ops.xp.where(x == self.only, y, ops.xp.nan * y)), x, running

    def backward(self, ops: Any, x: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return dy / x, {}


@pytest.mark.parametrize("refuses", [False, True])
def test_a_point_is_found_where_the_function_is_finite(refuses: bool, rng: Any) -> None:
    report = check_gradients(Logarithm(refuses), rng.uniform(0.5, 5.0, (5, 4)), oracles="inner products")
    assert report.passed, str(report)
    assert report.perturbed.judged or "none: Logarithm raises ValueError near it" in report.perturbed.note
    assert refuses or report.perturbed.judged


def test_report_says_when_there_is_no_perturbed_point() -> None:
    report = check_gradients(Logarithm(only=2.0), np.full((2, 2), 2.0), oracles="inner products")
    assert not report.perturbed.judged
    assert {v.point for v in report.verdicts} == {"given"}
    assert "perturbed point: none: the function is finite at none of 10 points around, so the point given was" in str(
        report
    )


@pytest.mark.parametrize("name", [k.name for k in KERNELS.values() if k.backward and k.domain])
def test_arguments_stay_in_their_domains(name: str) -> None:
    kernel = KERNELS[name]
    problem = kernel_problem(kernel, None, {}, 0)
    original = arguments(kernel, None, stream("check arguments", 0))
    moved, _ = perturb([problem], kernel.domain, 0)
    assert moved
    assert set(moved.at) == set(kernel.differentiable)  # targets, weights, labels and counters stay where they are
    for argument, array in moved.at.items():
        domain = kernel.domain.get(argument, "real")
        assert np.all(array != original[argument])
        assert domain == "real" or np.all(np.sign(array) == np.sign(original[argument]))
        assert domain not in ("probability", "distribution") or np.all((array > 0) & (array < 1))
        assert domain != "distribution" or np.allclose(array.sum(axis=-1), 1.0)


def test_options_of_a_kernel_are_moved() -> None:
    assert moved_options({"alpha": 1.0, "rate": 0.0, "salt": 3, "reduction": "mean", "bias_row": None}) == {
        "alpha": 0.7, "rate": 0.25, "salt": 3, "reduction": "mean", "bias_row": None,
    }  # fmt: skip
    report = check_gradients("elu", oracles="inner products")
    assert "alpha is 1" in report.special
    assert "as kernel elu(alpha=0.7)" in report.perturbed.note


def test_elements_are_named_as_the_features_name_the_inputs() -> None:
    names = ("age", "city = Oslo")
    arrays = {"0.weight": np.array([[0.1, 0.2], [0.0, 0.0]]), "1.weight": np.zeros((2, 2)), "x": np.eye(3, 2) + 1.0}
    assert special_values(arrays, None, names) == (
        "row 'city = Oslo' of 0.weight is all 0",
        "1.weight is all 0",
        "row 2 of x is all 1",
    )
    people = pd.DataFrame(
        {"age": [20.0, 30.0, 40.0, 55.0], "city": ["Oslo", "Rio"] * 2, "y": ["no", "no", "yes", "yes"]}
    )
    features = bp.Features().fit(people, "y")
    network = bp.Network(features.inputs, [bp.Dense(2)], "softmax_cross_entropy")
    report = bp.Model(network, features=features, dtype="float64").check(people, people["y"], oracles="differences")
    worst = {v.array: v.worst.element for v in report.verdicts if v.worst}
    assert any(f"weight from {name!r} to unit" in worst["0.weight"] for name in features.input_names)
    assert any(worst["x"].endswith(f", {name!r}") for name in features.input_names)


def test_special_values_are_named() -> None:
    matrix = np.array([[0.5, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [0.3, 1.0, 0.2]])
    assert special_values({"a": np.zeros(3), "b": np.ones((2, 2)), "c": np.full(3, 0.7), "d": np.array([0.2, 0.3])}) == (
        "a is all 0", "b is all 1", "c is all 0.7",
    )  # fmt: skip
    assert special_values({"w": matrix}) == ("row 1 of w is all 0", "row 2 of w is all equal")
    assert special_values({"w": np.repeat([[1.0], [0.0]], 5, axis=1)}) == ("row 1 of w is all 0", "row 0 of w is all 1")
    assert special_values({"x": np.vstack([np.zeros((5, 2)), [[1.0, 2.0]]])}) == (
        "rows 0, 1, 2 and 2 more of x are all 0",
    )
    assert special_values({"x": np.array([[0.0, 2.0], [3.0, 1.0]])}) == (
        "1 of 4 elements of x are 0",
        "1 of 4 elements of x are 1",
    )
    assert special_values({"s": np.array(1.0), "e": np.zeros((0, 2))}, {"alpha": 1.0, "salt": 0}) == (
        "s is 1",
        "alpha is 1",
    )


def test_a_bias_row_is_named(rng: Any) -> None:
    report = check_gradients(bp.Dense(3, bias="column"), rng.normal(size=(4, 2)), oracles="inner products")
    assert report.special == ("row 2 of weight is all 0",)


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize("name", ["mean_absolute_error", "huber", "mean_squared_error", "sum_squared_residuals"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "selu", "tanh"])
@pytest.mark.parametrize("kind", ["all zero", "a perfect fit"])
def test_all_zero_networks_and_perfect_fits_raise_no_false_alarm(
    kind: str, activation: str, name: str, rng: Any, jax: Any
) -> None:
    x = rng.normal(size=(5, 3))
    x[0] = 0.0
    model = bp.Model(bp.Network(3, [bp.Dense(4, activation), bp.Dense(2)], name, [bp.L1(0.1)]), dtype="float64")
    if kind == "all zero":
        x, model.parameters = 0.0 * x, {n: 0.0 * a for n, a in model.parameters.items()}
    report = check_gradients(model, x, model.forward(x), oracles="autodiff", perturbed=False)
    assert report.passed, str(report)


def test_wrong_convention_in_a_perfect_fit_is_not_excused_as_rounding(rng: Any, jax: Any) -> None:
    from bpengine_numpy import NumpyBackend

    right = KERNELS["mean_absolute_error"].backward
    assert right

    class Wrong(NumpyBackend):
        def replacements(self) -> Any:
            return {"mean_absolute_error_bwd": lambda residual, dy: right(np, residual, dy) + 1e-3 * dy}

    network = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], "mean_absolute_error")
    model, x = bp.Model(network, Wrong("float64"), "float64"), rng.normal(size=(5, 3))
    report: Report = check_gradients(model, x, model.forward(x), oracles="autodiff", perturbed=False)
    assert str(report.guilty).startswith("mean_absolute_error_bwd in the loss, dy")
