"""What a report says, in words, as JSON, as an exception; without JAX; about layers of one's own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import Availability, backend_class
from bpengine.check import GradientError, check_gradients, words
from bpengine.kernels import KERNELS
from tests.check.mutants import Mutant
from tests.check.test_mutants import data, model
from tests.layers.test_own_layer import Gate
from tests.training.networks import everything, labelled


@pytest.fixture
def without_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Availability("not installed", "the package 'jax' is not installed.", "Install it with: pip install jax.")
    monkeypatch.setattr(backend_class("jax"), "availability", classmethod(lambda cls: state))


@pytest.fixture
def failed(jax: Any) -> bp.check.Report:
    broken = model(Mutant("dense", 1, "a factor 2"))
    return check_gradients(broken, *data(broken))


def test_the_worst_element_and_the_kernel_are_named(failed: Any) -> None:
    assert not failed.passed
    text = str(failed)
    assert text.startswith("FAILED: gradients of network 4-4-4-4, half_sum_squares")
    assert "guilty: dense_bwd in layer 2, dw: w, row" in text
    assert ", ratio 2: a factor 2 too many" in text
    assert "layer 0, weight from unit" in text
    worst = next(v for v in failed.failures if v.array == "2.weight").worst
    assert worst.hand == pytest.approx(2 * worst.reference)
    assert "autodiff" in worst.text("autodiff")
    orders = {v.array: v.order for v in failed.verdicts if v.oracle == "inner products"}
    assert orders["2.weight"] == pytest.approx(1.0, abs=0.1)
    assert orders["0.bias"] is None or orders["0.bias"] == pytest.approx(2.0, abs=0.1)


def test_it_can_be_raised(failed: Any) -> None:
    with pytest.raises(GradientError, match=r"network 4-4-4-4, half_sum_squares are wrong(.|\n)*dense_bwd") as caught:
        failed.raise_if_failed()
    assert caught.value.report is failed
    check_gradients("tanh").raise_if_failed()


def test_json(failed: Any) -> None:
    told = json.loads(json.dumps(failed.to_dict(), allow_nan=False))
    assert told["passed"] is False
    assert told["guilty"]["function"] == "dense_bwd"
    assert told["verdicts"][0].keys() >= {"array", "oracle", "error", "ulp", "tolerance", "compared", "passed", "worst"}
    assert told["kinks"] == {"exact": 0, "near": 0, "left_out": 0}
    assert {o["name"] for o in told["oracles"]} == {"autodiff", "differences", "complex step", "inner products"}
    assert told["findings"][0].startswith("guilty: dense_bwd")


def test_the_table_is_aligned(failed: Any) -> None:
    head, *rows = failed.table().splitlines()
    assert head.split()[:3] == ["array", "oracle", "compared"]
    assert len(rows) == len(failed.verdicts)
    start = head.index("compared")
    assert all(row[start - 2 : start] == "  " for row in rows)


@pytest.mark.usefixtures("without_jax")
def test_without_jax_the_others_run_and_the_cure_is_told(rng: Any) -> None:
    report = check_gradients(everything(), *labelled(rng, 8))
    assert report.passed
    assert [use.name for use in report.oracles if use.used] == ["differences", "inner products"]
    assert "autodiff: not used: the autodiff oracle needs JAX (not installed)" in str(report)
    assert "pip install jax" in str(report)
    assert not check_gradients(replace(KERNELS["tanh"], backward=lambda xp, y, dy: 2 * dy), oracles="autodiff").passed


@pytest.mark.usefixtures("without_jax")
def test_without_jax_a_missing_gradient_is_found() -> None:
    report = check_gradients(replace(KERNELS["tanh"], backward=lambda xp, y, dy: 0.0 * dy))
    assert "the whole gradient is missing" in str(report)
    assert report.guilty
    assert report.guilty.argument == "dx"


def test_a_layer_of_ones_own_is_named_where_its_kernels_are_right(rng: Any, jax: Any) -> None:
    class Wrong(Gate):
        def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
            dx, gradients = super().backward(ops, residual, dy, need_dx=need_dx)
            return dx, {**gradients, "shift": gradients["shift"] / 2}

    network = bp.Network(3, [bp.Dense(3, "relu"), Wrong(0.5), bp.Dense(2)], "softmax_cross_entropy")
    report = check_gradients(network, *labelled(rng, 9, 3, 2))
    assert report.guilty
    assert (report.guilty.place, report.guilty.function) == ("1", "Wrong.backward")
    assert "layer 1, shift of unit" in str(report)
    assert "ratio 0.5: a factor 2 is missing" in str(report)
    assert "Wrong is not the engine's own" in str(check_gradients(Wrong(0.5), rng.normal(size=(4, 3))))


def test_a_wrong_forward_is_named(rng: Any, jax: Any) -> None:
    from bpengine_numpy import NumpyBackend

    class Off(NumpyBackend):
        def replacements(self) -> Any:
            return {"tanh_fwd": lambda x: (1.01 * np.tanh(x), np.tanh(x))}

    network = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], "mean_squared_error")
    report = check_gradients(bp.Model(network, Off("float64"), "float64"), rng.normal(size=(5, 3)), np.ones((5, 2)))
    assert not report.passed
    assert report.guilty
    assert report.guilty.function == "tanh_fwd"


def test_own_gradients_in_float32_are_judged(rng: Any) -> None:
    network = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], "mean_squared_error")
    spoiled = bp.Model(network)
    right = spoiled.loss_and_gradients

    def wrong(*rows: Any) -> Any:
        loss, gradients = right(*rows)
        return loss, {**gradients, "1.bias": gradients["1.bias"] * (1 + 1e-3)}

    spoiled.loss_and_gradients = wrong  # type: ignore[method-assign]
    report = check_gradients(spoiled, rng.normal(size=(5, 3)), np.ones((5, 2)))
    assert [(v.array, v.oracle) for v in report.failures] == [("1.bias", "own float32")]


@pytest.mark.parametrize(
    ("array", "index", "row", "expected"),
    [
        ("1.weight", (3, 0), None, "layer 1, weight from unit 3 to unit 0"),
        ("0.weight", (4, 1), "last", "layer 0, bias of unit 1 (a row of the weight)"),
        ("0.weight", (0, 1), "first", "layer 0, bias of unit 1 (a row of the weight)"),
        ("0.weight", (2, 1), "first", "layer 0, weight from unit 1 to unit 1"),
        ("2.0.bias", (7,), None, "layer 2.0, bias of unit 7"),
        ("x", (2, 1), None, "x, row 2, unit 1"),
    ],
)
def test_elements_have_names(array: str, index: Any, row: Any, expected: str) -> None:
    assert words.element(array, index, (5, 3), row) == expected


@pytest.mark.parametrize(
    ("hand", "expected"),
    [
        (lambda d: d / 2, "a factor 2 is missing"),
        (lambda d: 2 * d, "a factor 2 too many"),
        (lambda d: -d, "the sign is wrong"),
        (lambda d: 0 * d, "the whole gradient is missing"),
        (lambda d: 7 * d, "the batch size, 7, is missing as a divisor"),
        (lambda d: d / 5, "divided once too often by the number of outputs, 5"),
        (lambda d: d.T, "it is transposed"),
        (lambda d: 1.7 * d, "a constant factor is wrong"),
        (lambda d: d + 1, "no constant factor: a term is missing or too many, or a sum runs over the wrong axis"),
        (lambda d: d * (1 - np.eye(3)), "a term is missing"),
    ],
)
def test_causes(hand: Any, expected: str) -> None:
    reference = np.arange(1.0, 10.0).reshape(3, 3)
    counts = {"batch size": 7, "number of outputs": 5}
    assert words.cause(hand(reference), reference, (2, 2), counts) == expected
