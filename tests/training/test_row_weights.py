"""Row weights: a weight of 0 is a row left out and one of 2 a row given twice, in every number that comes from rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.training import batching, evaluation
from tests.tolerances import agreement_rtol, training_rtol

PENALTIES = [bp.L2(0.5, per_sample=True), bp.L1(0.3, per_sample=True), bp.L2(0.01)]
LOSSES = ["mean_squared_error", "sum_squared_residuals", "softmax_cross_entropy", "sigmoid_cross_entropy"]
ROWS = 40


def network(loss: str = "mean_squared_error") -> bp.Network:
    return bp.Network(3, [bp.Dense(5, "tanh"), bp.Dense(2)], loss, PENALTIES)


def targets(loss: str, rng: np.random.Generator) -> Any:
    if loss == "softmax_cross_entropy":
        return rng.integers(0, 2, ROWS)
    values = rng.normal(size=(ROWS, 2))
    return (values > 0).astype(float) if loss == "sigmoid_cross_entropy" else values


def assert_same(got: Any, expected: Any, rtol: float = agreement_rtol(float, 8 * ROWS)) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=rtol, atol=rtol * float(np.max(np.abs(value))), err_msg=name)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_how_often_a_row_is_given(
    loss: str, backend_name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, weights = rng.normal(size=(ROWS, 3)), targets(loss, rng), rng.integers(0, 4, ROWS)
    weights[8:16] = 0
    again = np.repeat(np.arange(ROWS), weights)
    model = bp.Model(network(loss), backend_name, "float64", seed=1)
    value, gradients = model.loss_and_gradients(x, y, weights)
    expected, theirs = model.loss_and_gradients(x[again], y[again])
    assert value == pytest.approx(expected, rel=agreement_rtol(float, 8 * ROWS))
    assert_same(gradients, theirs)
    monkeypatch.setattr(evaluation, "CHUNK", 8)
    scores = model.evaluate(x, y, weights)
    assert scores["loss"] == pytest.approx(value, rel=agreement_rtol(float, 8 * ROWS))
    assert_same(scores, model.evaluate(x[again], y[again]))
    one, other = (bp.Model(network(loss), backend_name, "float64", seed=1) for _ in range(2))
    one.fit(x, y, weights=weights, optimizer=bp.Momentum(1e-3), steps=5)
    other.fit(x[again], y[again], optimizer=bp.Momentum(1e-3), steps=5)
    assert_same(one.parameters, other.parameters, training_rtol(float, 5))


@pytest.mark.parametrize("update", ["simultaneous", "sequential"])
def test_sequential_updates_count_alike(update: str, rng: np.random.Generator) -> None:
    x, y, weights = rng.normal(size=(ROWS, 3)), rng.normal(size=(ROWS, 2)), rng.integers(0, 4, ROWS)
    again = np.repeat(np.arange(ROWS), weights)
    one, other = (bp.Model(network(), dtype="float64") for _ in range(2))
    one.fit(x, y, weights=weights, optimizer=bp.SGD(0.1), steps=5, update=update)
    other.fit(x[again], y[again], optimizer=bp.SGD(0.1), steps=5, update=update)
    assert_same(one.parameters, other.parameters, training_rtol(float, 5))


@pytest.mark.usefixtures("jax")
def test_the_check_differentiates_the_weighted_penalty(rng: np.random.Generator) -> None:
    x, y, weights = rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), np.array([0, 2, 1, 0, 3, 0.5])
    report = bp.Model(network(), dtype="float64").check(x, y, weights)
    assert report.passed, str(report)


def test_a_batch_of_left_out_rows_teaches_nothing() -> None:
    penalty = bp.L2(1.0, per_sample=True)
    model = bp.Model(bp.Network(1, [bp.Dense(1, weight_init="normal")], "mean_squared_error", penalty))
    before = model.parameters
    weights = [0.0, 0.0, 0.0, 1.0]
    history = model.fit([[1.0], [2.0], [3.0], [4.0]], [1.0] * 4, weights=weights, batch_size=3, steps=1, shuffle=False)
    assert history.loss.tolist() == [0.0]
    assert history.epochs[0].loss == 0.0
    np.testing.assert_array_equal(model.parameters["0.weight"], before["0.weight"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "uint8", "float64"])
def test_sums_of_weights_are_exact_in_any_dtype(dtype: str, rng: np.random.Generator) -> None:
    kind = np.dtype(__import__("ml_dtypes").bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    rows = 3 * evaluation.CHUNK
    x, y = rng.normal(size=(rows, 1)), rng.normal(size=(rows, 1))
    weights = np.repeat([200, 1, 16], evaluation.CHUNK).astype(kind)  # the sum passes float16's 65,504
    model = bp.Model(bp.Network(1, [bp.Dense(1)], "mean_squared_error"), dtype="float64")
    scores = model.evaluate(x, y, weights)
    expected = np.average((model.predict(x) - y)[:, 0] ** 2, weights=weights.astype(float))
    assert scores["loss"] == pytest.approx(expected, rel=agreement_rtol(float, rows))
    assert scores["rmse"] == pytest.approx(expected**0.5, rel=agreement_rtol(float, rows))


@pytest.mark.parametrize("where", ["memory", "file", "full batch"])
def test_the_loss_of_an_epoch_weighs_steps_by_their_rows(
    where: str, rng: np.random.Generator, tmp_path: Path, backend_name: str
) -> None:
    x, y, weights = rng.normal(size=(50, 2)), rng.normal(size=(50, 1)), rng.integers(0, 5, 50).astype(np.float16)
    weights[0] = 3000.0
    if where == "file":
        for name, array in (("x", x), ("w", weights)):
            np.save(tmp_path / f"{name}.npy", array)
        x, weights = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "w"))
    model = bp.Model(bp.Network(2, [bp.Dense(1)], "mean_squared_error"), backend_name, "float64", seed=3)
    batch = None if where == "full batch" else 8
    history = model.fit(x, y, weights=weights, batch_size=batch, epochs=2, optimizer=bp.SGD(0.0))
    expected = model.evaluate(x, y, weights)["loss"]  # nothing is learned
    for epoch in history.epochs:
        assert epoch.loss == pytest.approx(expected, rel=agreement_rtol(float, 50))
    if batch:
        orders = batching.batches(batching.epoch_order(3, 0, 50, shuffle=True), 8)
        shares = [float(weights[rows].sum(dtype=float)) for part in orders for rows in part]
        assert history.epochs[0].loss == pytest.approx(np.average(history.loss[:7], weights=shares), rel=1e-12)


def test_weights_that_are_the_targets_themselves_change_no_dtype(backend_name: str) -> None:
    """Both are one array: its place among the rows decides what becomes of it."""
    x, y = np.arange(12.0).reshape(6, 2), np.array([1, 2, 3, 1, 2, 3])
    values = bp.Model(bp.Network(2, [bp.Dense(1)], "mean_squared_error"), backend_name)
    same, copied = (bp.Model(bp.Network(2, [bp.Dense(4)], "softmax_cross_entropy"), backend_name) for _ in range(2))
    values.fit(x, y, weights=y, epochs=2)
    same.fit(x, y, weights=y, epochs=2)
    copied.fit(x, y, weights=y.astype(float), epochs=2)
    for model in (values, same):
        assert {str(array.dtype) for array in model._params.values()} == {"float32"}
    for name, array in copied.parameters.items():
        np.testing.assert_array_equal(same.parameters[name], array)
    assert same.evaluate(x, y, y) == copied.evaluate(x, y, y.astype(float))
