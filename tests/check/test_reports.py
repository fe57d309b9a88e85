"""What a report says, in words, as JSON, as an exception; without JAX; about layers of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import Availability, backend_class
from bpengine.check import GradientError, check_gradients
from bpengine.check.reports.results import ArrayResult, KinkCounts, OracleUse
from bpengine.i18n import language
from bpengine.kernels import KERNELS
from tests.check.mutants import Mutant, data, model
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


def test_a_verdict_is_in_the_language_that_is_set(failed: Any) -> None:
    plain = failed.to_dict()
    language.choose("pt")
    try:
        assert failed.verdict().startswith("FALHOU: gradientes (rede 4-4-4-4, half_sum_squares), valor ")
        assert str(failed).startswith(failed.verdict())
        assert ", diferenças finitas " in str(failed)
        assert ", differences " not in str(failed)
        assert failed.to_dict() == plain
    finally:
        language.choose(None)
    assert failed.verdict().startswith("FAILED: gradients of ")


def test_the_worst_element_and_the_kernel_are_named(failed: Any) -> None:
    assert not failed.passed
    text = str(failed)
    assert text.startswith("FAILED: gradients of network 4-4-4-4, half_sum_squares")
    assert "faulty: dense_bwd in layer 2, dw: w, row" in text
    assert ", ratio 2: a factor 2 too many" in text
    assert "layer 0, weight from unit" in text
    worst = next(v for v in failed.failures if v.array == "2.weight").worst
    assert worst.hand == pytest.approx(2 * worst.reference)
    assert "autodiff" in worst.text("autodiff")
    orders = {v.array: v.order for v in failed.verdicts if v.oracle == "inner products"}
    assert orders["2.weight"] == pytest.approx(1.0, abs=0.1)
    assert orders["0.bias"] is None or orders["0.bias"] == pytest.approx(2.0, abs=0.1)


def test_failed_report_can_be_raised(failed: Any) -> None:
    with pytest.raises(GradientError, match=r"network 4-4-4-4, half_sum_squares are wrong(.|\n)*dense_bwd") as caught:
        failed.raise_if_failed()
    assert caught.value.report is failed
    check_gradients("tanh").raise_if_failed()


def test_json_is_complete(failed: Any) -> None:
    record = json.loads(json.dumps(failed.to_dict(), allow_nan=False))
    wanted = {"subject", "precision", "loss", "passed", "findings", "guilty", "verdicts", "kinks", "oracles"}
    assert record.keys() == wanted | {"special", "perturbed", "derivatives", "derivatives_note"}
    assert (record["passed"], record["precision"]) == (False, "float64 on numpy")
    assert record["guilty"].keys() == {"place", "function", "argument", "words", "point"}
    assert record["guilty"]["function"] == "dense_bwd"
    for rows, kind in (
        (record["verdicts"], ArrayResult),
        ([record["kinks"]], KinkCounts),
        (record["oracles"], OracleUse),
    ):
        assert {tuple(row) for row in rows} == {tuple(field.name for field in fields(kind))}
    assert {row["array"] for row in record["verdicts"]} == {"0.weight", "0.bias", "2.weight", "2.bias", "x", "value"}
    worst = next(row["worst"] for row in record["verdicts"] if row["array"] == "2.weight")
    assert worst.keys() == {"element", "hand", "reference", "cause", "ratio"}
    assert worst["ratio"] == pytest.approx(2.0)
    assert [o["name"] for o in record["oracles"]] == ["autodiff", "differences", "complex step", "inner products"]
    assert record["findings"] == failed.findings()
    for word in (
        "subject",
        "findings",
        "guilty",
        "verdicts",
        "kinks",
        "oracles",
        "special",
        "perturbed",
        "derivatives",
    ):
        assert word in bp.check.Report.to_dict.__doc__


def test_the_table_is_aligned(failed: Any) -> None:
    head, *rows = failed.table().splitlines()
    assert head.split() == list(failed.heads)
    assert len(rows) == len(failed.verdicts)
    start = head.index("compared")
    assert all(row[start - 2 : start] == "  " for row in rows)


@pytest.mark.usefixtures("without_jax")
def test_without_jax_the_others_run_and_the_cure_is_told(rng: Any) -> None:
    report = check_gradients(everything(units=3), *labelled(rng, 8))
    assert report.passed
    assert [use.name for use in report.oracles if use.used] == ["differences", "inner products"]
    assert "autodiff: not used: the autodiff oracle needs JAX (not installed)" in str(report)
    assert "pip install jax" in str(report)
    assert not check_gradients(replace(KERNELS["tanh"], backward=lambda xp, y, dy: 2 * dy), oracles="autodiff").passed


@pytest.mark.usefixtures("without_jax")
@pytest.mark.parametrize(
    ("factor", "cause"),
    [
        (lambda dy: 0.0 * dy, "the whole gradient is missing"),
        (lambda dy: dy * (np.arange(dy.size).reshape(dy.shape) > 0), "a term is missing"),
    ],
)
def test_without_jax_a_cause_is_found(factor: Callable[[Any], Any], cause: str) -> None:
    report = check_gradients(replace(KERNELS["identity"], backward=lambda xp, y, dy: factor(dy)), oracles="differences")
    assert f"ratio 0: {cause}" in str(report)
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


@pytest.mark.parametrize("where", ["1.0", "1.activation", "1.0.0.activation"])
def test_wrong_layer_inside_another_is_named(where: str, rng: Any) -> None:
    class Wrong(Gate):
        def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
            dx, gradients = super().backward(ops, residual, dy, need_dx=need_dx)
            return 2 * dx, gradients

    layer = {
        "1.0": bp.Residual([Wrong(0.5)]),
        "1.activation": bp.Dense(3, Wrong(0.5)),
        "1.0.0.activation": bp.Residual([bp.Residual([bp.Dense(3, Wrong(0.5))])]),
    }[where]
    network = bp.Network(3, [bp.Dense(3), layer, bp.Dense(2)], "softmax_cross_entropy")
    report = check_gradients(network, *labelled(rng, 5, 3, 2), oracles="differences", perturbed=False)
    assert report.guilty
    assert (report.guilty.place, report.guilty.function) == (where, "Wrong.backward")


def test_a_layer_that_is_checked_alone_is_named(rng: Any) -> None:
    class Doubled(bp.Layer):
        def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
            return 2 * dy, {}

    report = check_gradients(Doubled(), rng.normal(size=(4, 3)), oracles="differences")
    assert str(report.guilty).startswith("Doubled.backward, gradient of x: input, row ")
    assert report.findings()[0].endswith("ratio 2: a factor 2 too many")


def test_a_layer_that_jax_cannot_trace_is_judged_by_the_others(rng: Any, jax: Any) -> None:
    class OnlyNumpy(bp.Layer):
        def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
            return np.tanh(x), np.tanh(x), running

        def backward(self, ops: Any, y: Any, dy: Any, *, need_dx: bool = True) -> Any:
            return dy * (1 - y * y), {}

    network = bp.Network(2, [bp.Dense(2), OnlyNumpy()], "half_sum_squares")
    report = check_gradients(network, *rng.normal(size=(2, 4, 2)))
    assert report.passed
    assert [use.name for use in report.oracles if use.used] == ["differences", "inner products"]
    assert "autodiff: not used: JAX cannot trace OnlyNumpy (TracerArrayConversionError: " in str(report)
    assert "Write its forward with the array functions of ops.xp" in str(report)


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


def test_a_model_checks_itself(rng: Any) -> None:
    trained, rows = bp.Model(everything(units=3), seed=3), labelled(rng, 6)
    before = trained.parameters
    report = trained.check(*rows, np.ones(6), seed=2, oracles="inner products")
    assert report == check_gradients(trained, *rows, np.ones(6), seed=2, oracles="inner products")
    assert [use.name for use in report.oracles] == ["inner products", "own float32"]
    for name, value in trained.parameters.items():
        np.testing.assert_array_equal(value, before[name])
