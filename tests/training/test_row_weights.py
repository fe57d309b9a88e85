"""Row weights: a weight of 0 is a row left out and one of 2 a row given twice, in every number that comes from rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.kernels import KERNELS
from bpengine.training import batching, evaluation
from tests.tolerances import agreement_rtol, training_rtol

PENALTIES = [bp.L2(0.5, per_sample=True), bp.L1(0.3, per_sample=True), bp.L2(0.01)]
LOSSES = ["mean_squared_error", "sum_squared_residuals", "softmax_cross_entropy", "sigmoid_cross_entropy"]
ROWS = 40
BATCH_NORMS = {
    "alone": [bp.Dense(5, "tanh"), bp.BatchNorm(), bp.Dense(2)],
    "within Residual": [bp.Dense(4), bp.Residual([bp.BatchNorm(), bp.Dense(4, "tanh"), bp.BatchNorm()]), bp.Dense(2)],
}


def with_batch_norm(where: str, backend: Any = "numpy") -> bp.Model:
    return bp.Model(bp.Network(3, BATCH_NORMS[where], "mean_squared_error", PENALTIES), backend, "float64", seed=1)


def network(loss: str = "mean_squared_error") -> bp.Network:
    return bp.Network(3, [bp.Dense(5, "tanh"), bp.Dense(2)], loss, PENALTIES)


def targets(loss: str, rng: np.random.Generator) -> Any:
    if loss == "softmax_cross_entropy":
        return rng.integers(0, 2, ROWS)
    values = rng.normal(size=(ROWS, 2))
    return (values > 0).astype(float) if loss == "sigmoid_cross_entropy" else values


def assert_same(got: Any, expected: Any, rtol: float = agreement_rtol(float, 8 * ROWS), size: float = 0.0) -> None:
    """Compare arrays by name, each by its largest element, or by `size` where numbers of that size cancel."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        atol = rtol * max(float(np.max(np.abs(value))), size)
        np.testing.assert_allclose(got[name], value, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("loss", LOSSES)
def test_integer_weights_equal_repeated_rows(
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
def test_sequential_updates_use_the_weights(update: str, rng: np.random.Generator) -> None:
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


def test_batch_of_weight_0_changes_no_parameter() -> None:
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


@pytest.mark.thorough(keep=1)
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


def test_weights_equal_to_the_targets_keep_their_dtype(backend_name: str) -> None:
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


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("where", BATCH_NORMS)
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("update", ["simultaneous", "sequential"])
def test_the_statistics_of_a_batch_count_rows_by_their_weights(
    where: str, compiled: bool, update: str, backend_name: str, rng: np.random.Generator
) -> None:
    x, y, weights = rng.normal(size=(ROWS, 3)), rng.normal(size=(ROWS, 2)), rng.integers(0, 3, ROWS)
    again = np.repeat(np.arange(ROWS), weights)
    x[weights == 0] *= 1000.0  # what is left out must not show
    one, other = with_batch_norm(where, backend_name), with_batch_norm(where, backend_name)
    value, gradients = one.loss_and_gradients(x, y, weights)
    expected, theirs = other.loss_and_gradients(x[again], y[again])
    rtol = agreement_rtol(float, 64 * ROWS)
    assert value == pytest.approx(expected, rel=rtol)
    assert_same(gradients, theirs, rtol)
    for model in (one, other):
        if backend_name == "numpy":
            model.backend._compiled._patience = float("-inf" if compiled else "inf")
    settings = {"optimizer": bp.Momentum(0.01), "steps": 6, "update": update}
    one.fit(x, y, weights=weights, **settings)
    other.fit(x[again], y[again], **settings)
    assert_same(one.parameters, other.parameters, 8 * training_rtol(float, 6), 1.0)
    assert_same(one.running, other.running, 8 * training_rtol(float, 6), 1.0)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("where", BATCH_NORMS)
def test_eager_and_compiled_are_the_same_bits(where: str, rng: np.random.Generator) -> None:
    x, y, weights = rng.normal(size=(ROWS, 3)), rng.normal(size=(ROWS, 2)), rng.integers(0, 3, ROWS)
    weights[8:16] = 0  # a whole batch
    models = []
    for patience in ("inf", "-inf"):
        bp.clear_caches()  # two models of one process share a backend and its programs
        models.append(model := with_batch_norm(where))
        model.backend._compiled._patience = float(patience)
        model.fit(x, y, weights=weights, batch_size=8, epochs=2, shuffle=False)
    for kind in ("parameters", "running"):
        for name, value in getattr(models[0], kind).items():
            np.testing.assert_array_equal(getattr(models[1], kind)[name], value)


@pytest.mark.thorough(keep=1)
def test_each_part_of_an_accumulated_batch_has_its_own_weights(backend_name: str, rng: np.random.Generator) -> None:
    """Two of the four rows of every part count twice, the others not at all: as parts of two rows, each given twice."""
    x, y = rng.normal(size=(24, 3)), rng.normal(size=(24, 2))
    weights = np.tile([2.0, 2.0, 0.0, 0.0], 6)
    kept = np.repeat(np.flatnonzero(weights), 2)
    one, other = with_batch_norm("within Residual", backend_name), with_batch_norm("within Residual", backend_name)
    settings = {"batch_size": 4, "accumulate": 3, "epochs": 2, "shuffle": False, "optimizer": bp.SGD(0.01)}
    one.fit(x, y, weights=weights, **settings)
    other.fit(x[kept], y[kept], **settings)
    assert_same(one.parameters, other.parameters, 8 * training_rtol(float, 4), 1.0)
    assert_same(one.running, other.running, 8 * training_rtol(float, 4), 1.0)


@pytest.mark.thorough(keep=1)
def test_a_batch_of_left_out_rows_leaves_the_running_statistics(backend_name: str, rng: np.random.Generator) -> None:
    """Values do not grow from layer to layer, as a division by a variance of 0 would make them."""
    layers = [bp.BatchNorm() for _ in range(24)]
    model = bp.Model(bp.Network(3, [*layers, bp.Dense(1)], "mean_squared_error"), backend_name)
    before = model.parameters
    x, weights = 100.0 + rng.normal(size=(8, 3)), np.repeat([0.0, 1.0], 4)
    history = model.fit(x, np.ones(8), weights=weights, batch_size=4, steps=1, shuffle=False, optimizer=bp.SGD(1.0))
    assert history.loss.tolist() == [0.0]
    for name, value in before.items():
        np.testing.assert_array_equal(model.parameters[name], value)
    for name, value in model.running.items():
        np.testing.assert_array_equal(value, np.full(3, float(name.endswith("variance"))), err_msg=name)


def test_extreme_row_of_weight_0_gives_no_infinity(backend_name: str, rng: np.random.Generator) -> None:
    """Its square is beyond float32; times 0 that would be NaN."""
    x, y, weights = rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), np.array([0.0] + 7 * [1.0])
    x[0] = 1e25
    network = bp.Network(3, [bp.BatchNorm(), bp.Dense(2)], "mean_absolute_error")
    one, other = (bp.Model(network, backend_name, seed=1) for _ in range(2))
    one.fit(x, y, weights=weights, steps=2)
    other.fit(x[1:], y[1:], steps=2)
    for kind in ("parameters", "running"):
        assert_same(getattr(one, kind), getattr(other, kind), 8 * training_rtol(np.float32, 8), 1.0)


def test_very_large_or_small_weights_give_an_exact_mean(rng: np.random.Generator) -> None:
    """Rounded shares do not quite sum to 1, by which the mean of rows far from 0 would be off."""
    x, weights = (1000.0 + rng.normal(size=(999, 2))).astype(np.float32), rng.integers(0, 3, 999).astype(np.float32)
    inputs = np.ones(2, np.float32), np.zeros(2, np.float32), weights
    _, residual = KERNELS["batch_norm"].forward(np, x, *inputs)
    exact = np.average(x.astype(float), axis=0, weights=weights)
    np.testing.assert_allclose(residual.mean, exact, rtol=float(np.finfo(np.float32).eps))


@dataclass(frozen=True)
class Centred(bp.Layer):
    """Subtract the weighted mean of the batch in training, with the weights of `Run`."""

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        xp = ops.xp
        if not run.training:
            return x, None, running
        weights = xp.ones_like(x[:, 0]) if run.weights is None else run.weights
        share = (weights / xp.sum(weights))[:, None]
        return x - xp.sum(share * x, axis=0), share, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return (dy if residual is None else dy - residual * ops.xp.sum(dy, axis=0)), {}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("update", ["simultaneous", "sequential"])
def test_a_layer_of_ones_own_is_given_the_weights(update: str, backend_name: str, rng: np.random.Generator) -> None:
    x, y, weights = rng.normal(size=(ROWS, 3)), rng.normal(size=(ROWS, 2)), rng.integers(0, 3, ROWS)
    again = np.repeat(np.arange(ROWS), weights)
    network = bp.Network(3, [bp.Dense(4), bp.Residual([Centred()]), bp.Dense(2)], "mean_squared_error")
    one, other = (bp.Model(network, backend_name, "float64", seed=1) for _ in range(2))
    one.fit(x, y, weights=weights, steps=5, update=update, optimizer=bp.Momentum(0.01))
    other.fit(x[again], y[again], steps=5, update=update, optimizer=bp.Momentum(0.01))
    assert_same(one.parameters, other.parameters, training_rtol(float, 5), 1.0)
    report = one.check(x[:6], y[:6], [0, 1, 2, 3, 0.5, 1], oracles=("differences", "inner products"))
    assert report.passed, str(report)


@pytest.mark.thorough(keep=1)
@pytest.mark.usefixtures("jax")
@pytest.mark.parametrize("where", BATCH_NORMS)
def test_the_check_passes_with_weights_in_the_statistics(where: str, rng: np.random.Generator) -> None:
    x, y, weights = rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), np.array([0, 2, 1, 0, 3, 0.5])
    report = bp.check_gradients(with_batch_norm(where), x, y, weights)
    assert report.passed, str(report)


def equal_shares(right: Any, res: Any, dy: Any) -> Any:
    return right(np, res._replace(share=1.0 / len(dy)), dy)


def weighted_twice(right: Any, res: Any, dy: Any) -> Any:
    return right(np, res, dy * res.share * len(dy))


def shares_of_the_mean_only(right: Any, res: Any, dy: Any) -> Any:
    _, dgamma, dbeta = right(np, res, dy)
    return (dy - res.share * dbeta - res.x_hat * dgamma / len(dy)) * (res.gamma * res.inverse_std), dgamma, dbeta


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("wrong", [equal_shares, weighted_twice, shares_of_the_mean_only])
def test_wrongly_weighted_backward_is_caught(wrong: Any, rng: np.random.Generator) -> None:
    right = KERNELS["batch_norm"].backward

    class Broken(NumpyBackend):
        def replacements(self) -> Any:
            return {"batch_norm_bwd": lambda res, dy: wrong(right, res, dy)}

    x, y, weights = rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), np.array([0, 2, 1, 0, 3, 0.5])
    model, oracles = with_batch_norm("alone", Broken("float64")), "inner products"
    assert model.check(x, y, oracles=oracles).passed  # nothing is wrong where rows count alike
    report = model.check(x, y, weights, oracles=oracles)
    assert not report.passed
    assert report.guilty is not None
    assert report.guilty.function == "batch_norm_bwd"


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_a_batch_of_which_one_row_counts_moves_no_statistics(backend: str, rng: np.random.Generator) -> None:
    """One row has no variance: 0 would be averaged into the running one."""
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))
    network = bp.Network(3, [bp.BatchNorm(), bp.Dense(1)], "mean_squared_error")
    both, second = (bp.Model(network, backend, seed=0) for _ in range(2))
    both.fit(
        x, y, weights=[0, 1, 0, 1, 1, 1], batch_size=3, epochs=1, shuffle=False, only="1.*", optimizer=bp.SGD(1e-30)
    )
    second.fit(x[3:], y[3:], epochs=1, only="1.*", optimizer=bp.SGD(1e-30))
    for name, value in second.running.items():
        np.testing.assert_allclose(both.running[name], value, rtol=agreement_rtol(value.dtype, 6))


def test_with_batch_norm_two_rows_must_count(rng: np.random.Generator) -> None:
    model = bp.Model(bp.Network(3, [bp.BatchNorm(), bp.Dense(1)], "mean_squared_error"), seed=0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))
    with pytest.raises(bp.ConfigError, match="at least 2 rows with a weight above 0 with BatchNorm, got 1"):
        model.fit(x, y, weights=[0, 0, 1, 0, 0, 0], epochs=1)
