"""`fit_many`: the numbers are those of single fits, whichever models run together, and each model ends as it would alone."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.many import training
from bpengine.many.folds import drawn
from bpengine.system.blas_pool import BLAS_POOL
from bpengine.training.progress import views
from tests.tolerances import training_rtol

Rows = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def network(*penalties: Any, units: int = 8) -> bp.Network:
    layers = [bp.Dense(units, "tanh"), bp.BatchNorm(), bp.Dropout(0.2), bp.Dense(3)]
    return bp.Network(5, layers, "softmax_cross_entropy", penalties)


@pytest.fixture
def rows(rng: np.random.Generator) -> Rows:
    return rng.standard_normal((60, 5)), rng.integers(0, 3, 60)


def alone(fit: bp.OneFit, rows: Rows, backend: Any, **settings: Any) -> tuple[bp.Model, bp.History]:
    """Return the model and the history of the same fit by itself."""
    x, y = rows
    if fit.fold is not None:
        fold = drawn(3, y, "classes")[fit.fold]
        settings["validation"] = x[fold.test], y[fold.test]
        x, y = x[fold.train], y[fold.train]
    model = bp.Model(network(*([] if fit.l2 is None else [bp.L2(fit.l2)])), backend, seed=fit.seed)
    with BLAS_POOL.limited(1):
        return model, model.fit(x, y, optimizer=fit.optimizer, **settings)


def assert_same(fit: bp.OneFit, model: bp.Model, history: bp.History) -> None:
    """Assert the same bits on NumPy; on JAX the tolerance of two backends after so many steps."""
    assert fit.history.steps == history.steps
    assert fit.history.stopped_by == history.stopped_by
    rtol = 0.0 if model.backend.name == "numpy" else training_rtol("float32", history.steps)
    np.testing.assert_allclose(fit.history.loss, history.loss, rtol=rtol)
    assert fit.model.parameters.keys() == model.parameters.keys()
    for part in ("parameters", "running"):
        for name, value in getattr(model, part).items():
            largest = float(np.abs(value).max())
            np.testing.assert_allclose(getattr(fit.model, part)[name], value, rtol=0, atol=rtol * largest, err_msg=name)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(("backend", "batch"), [("numpy", 16), ("numpy", None), ("jax", None), ("jax", 20)])
def test_the_numbers_are_those_of_single_fits(backend: str, batch: int | None, rows: Rows) -> None:
    """Two rates, of which one changes; strengths of which one is 0; folds; early stopping for each."""
    rules = [bp.Adam(0.03), bp.Adam(bp.Cosine(0.1, 40))]
    settings = {"batch_size": batch, "epochs": 6, "stop": bp.NoImprovement(2)}
    many = bp.fit_many(network(), *rows, optimizers=rules, l2=[0.0, 0.01], folds=3, backend=backend, **settings)
    assert len(many) == 12
    assert len({fit.history.steps for fit in many}) > 1
    for fit in many:
        assert_same(fit, *alone(fit, rows, backend, **settings))


@pytest.mark.thorough
def test_weighted_rows_and_few_steps_work_without_validation(rows: Rows, rng: np.random.Generator) -> None:
    weights = rng.uniform(0.5, 2.0, 60)
    settings = {"batch_size": 16, "steps": 5, "weights": weights, "clip_norm": 0.1, "freeze": "0.bias"}
    for backend in ("numpy", "jax"):
        for fit in bp.fit_many(network(), *rows, seeds=[3, 5], backend=backend, **settings):
            assert_same(fit, *alone(fit, rows, backend, **settings))
            assert fit.score == fit.history.epochs[-1].loss


def test_windowed_loop_gives_the_same_numbers(jax: Any, rows: Rows) -> None:
    from bpengine_jax import JaxBackend
    from bpengine_jax.epoch_plan import WINDOWED

    backend = JaxBackend()
    backend._plan = replace(WINDOWED, windows=(4, 2, 1), unroll=2)
    settings = {"batch_size": 8, "steps": 13, "stop": bp.LossBelow(1.2)}
    many = bp.fit_many(network(), *rows, seeds=3, optimizers=[bp.SGD(0.5)], backend=backend, **settings)
    assert len({fit.history.steps for fit in many}) > 1  # one model halts in the middle of a window, others go on
    for fit in many:
        assert_same(fit, *alone(fit, rows, backend, **settings))


def test_jax_compiles_once_for_seeds_rates_strengths_and_folds(
    monkeypatch: pytest.MonkeyPatch, jax: Any, rows: Rows
) -> None:
    from bpengine_jax.backend import JaxBackend

    calls: list[int] = []
    original = JaxBackend.run_epochs

    def counted(self: Any, step: Any, epochs: Any, **options: Any) -> Any:
        calls.append(len(epochs))
        return original(self, step, epochs, **options)

    monkeypatch.setattr(JaxBackend, "run_epochs", counted)
    grid = {"seeds": 2, "optimizers": [bp.Adam(0.1), bp.Adam(0.2)], "l2": [0, 0.1], "folds": 2}
    bp.fit_many(network(), *rows, **grid, steps=2, batch_size=15, backend="jax")
    assert calls == [16]
    calls.clear()
    shapes = [network(), network(units=4)]
    bp.fit_many(shapes, *rows, optimizers=["sgd", bp.Adam(0.1), bp.Adam(0.2)], steps=2, batch_size=15, backend="jax")
    assert sorted(calls) == [1, 1, 2, 2]


def test_numpy_uses_one_thread_for_products_in_each_of_its_fits(monkeypatch: pytest.MonkeyPatch, rows: Rows) -> None:
    from bpengine_numpy import NumpyBackend

    pools, names, both = list[int](), set[str](), threading.Barrier(2)
    original = NumpyBackend.run_epoch

    def seen(self: Any, *args: Any, **options: Any) -> Any:
        pools.append(BLAS_POOL.threads)
        if (name := threading.current_thread().name) not in names:
            names.add(name)
            both.wait(60)
        return original(self, *args, **options)

    monkeypatch.setattr(NumpyBackend, "run_epoch", seen)
    with BLAS_POOL.limited(2):
        bp.fit_many(network(), *rows, seeds=4, epochs=2, batch_size=16, at_once=2)
        assert BLAS_POOL.threads == 2
    assert set(pools) == {1}
    assert len(names) == 2


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_a_fit_that_fails_fails_alone(backend: str, rows: Rows) -> None:
    rates = [bp.SGD(1e38), bp.SGD(0.1)]
    settings = {"batch_size": 16, "epochs": 2}
    bad, good = many = bp.fit_many(network(), *rows, optimizers=rates, backend=backend, **settings)
    assert "training requires" in bad.error
    assert math.isnan(bad.score)
    assert all(np.isfinite(value).all() for value in bad.model.parameters.values())
    assert not good.error
    assert_same(good, *alone(good, rows, backend, **settings))
    assert many.best is good
    assert [row["failed"] for row in many.summary()] == [0, 1]
    assert "failed" in str(many)
    with pytest.raises(bp.ConfigError, match="requires one that did not fail"):
        _ = bp.fit_many(network(), *rows, optimizers=rates[0], backend=backend, **settings).best


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_unexpected_exception_ends_all_fits(backend: str, rows: Rows) -> None:
    class Broken(bp.Adam):
        def bind(self, ops: Any) -> Any:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        bp.fit_many(network(), *rows, optimizers=["sgd", Broken()], seeds=3, epochs=2, backend=backend)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_ctrl_c_ends_all_fits_with_what_they_have(monkeypatch: pytest.MonkeyPatch, backend: str, rows: Rows) -> None:
    from bpengine.many import workers
    from bpengine.training.history import Recorder

    trained, interrupted = threading.Event(), threading.Event()
    add, original = Recorder.add, workers.wait

    def recorded(*args: Any) -> None:
        add(*args)
        trained.set()

    def wait(threads: Any, seconds: float) -> None:
        if trained.is_set() and not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt
        original(threads, seconds)

    monkeypatch.setattr(Recorder, "add", recorded)
    monkeypatch.setattr(workers, "wait", wait)
    many = bp.fit_many(network(), *rows, seeds=3, epochs=10**6, batch_size=16, backend=backend, at_once=2)
    assert {fit.history.stopped_by for fit in many} == {"interrupted"}
    assert any(fit.history.steps for fit in many)
    assert all(fit.history.steps < 10**6 for fit in many)


def test_the_best_is_that_of_the_monitor_and_of_the_best_epoch(rows: Rows) -> None:
    many = bp.fit_many(
        network(), *rows, seeds=4, epochs=8, batch_size=16, validation=rows, metrics=["f1"], monitor="f1",
        stop=bp.NoImprovement(3, monitor="f1"),
    )  # fmt: skip
    assert many.best.score == max(fit.score for fit in many)
    assert many.best.score == pytest.approx(many.best.model.evaluate(*rows, metrics=["f1"])["f1"], abs=1e-6)
    assert many.summary()[0]["mean"] == pytest.approx(np.mean([fit.score for fit in many]))
    assert many.summary()[0]["spread"] == pytest.approx(np.std([fit.score for fit in many], ddof=1))


def test_the_table_has_a_row_for_each_fit_in_the_order_of_the_grid(rows: Rows) -> None:
    nets = {"small": network(units=2), "large": network()}
    many = bp.fit_many(nets, *rows, seeds=2, optimizers=bp.Adam(0.01, beta1=0.8), l2=0.1, folds=2, epochs=1)
    table = many.to_rows()
    assert [(row["network"], row["seed"], row["fold"]) for row in table] == list(
        itertools.product(("small", "large"), (0, 1), (0, 1))
    )
    assert {row["optimizer"] for row in table} == {"Adam(0.01, beta1=0.8)"}
    assert [row["fit"] for row in table] == list(range(8))
    assert list(many.to_frame()["score"]) == [fit.score for fit in many]
    assert many[-1].model.network.penalties == (bp.L2(0.1),)
    assert len(many.summary()) == 2
    assert str(many).splitlines()[0].split()[:3] == ["network", "optimizer", "l2"]
    assert many.models[0] is many[0].model


def test_folds_hold_out_each_row_once_and_as_many_of_each_class() -> None:
    target = np.repeat([0, 1, 2], [30, 12, 6])
    folds = drawn(3, target, "classes")
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(48))
    for fold in folds:
        np.testing.assert_array_equal(np.bincount(target[fold.test]), [10, 4, 2])
        np.testing.assert_array_equal(np.sort(np.concatenate(fold)), np.arange(48))
    values = drawn(5, np.zeros((12, 1)), "values")
    assert sorted(len(fold.test) for fold in values) == [2, 2, 2, 3, 3]


def test_folds_of_scikit_learn_and_masks_are_taken(rows: Rows) -> None:
    from sklearn.model_selection import KFold

    pairs = list(KFold(3).split(rows[0]))
    many = bp.fit_many(network(), *rows, folds=iter(pairs), epochs=1)
    masks = [(np.isin(np.arange(60), a), np.isin(np.arange(60), b)) for a, b in pairs]
    again = bp.fit_many(network(), *rows, folds=masks, epochs=1)
    assert [fit.score for fit in many] == [fit.score for fit in again]


def test_a_data_frame_gives_each_model_its_columns(rng: np.random.Generator) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": rng.standard_normal(40), "b": rng.standard_normal(40)})
    frame["class"] = np.where(frame["a"] > 0, "yes", "no")
    features = bp.Features().fit(frame, "class")
    net = bp.Network(features.inputs, [bp.Dense(features.outputs)], "softmax_cross_entropy")
    many = bp.fit_many(net, frame, "class", features=features, seeds=2, folds=2, optimizers=bp.Adam(0.1), epochs=30)
    assert many.best.scores["accuracy"] > 0.8
    assert many.best.model.class_names == ("no", "yes")
    assert set(many.best.model.predict(frame).shape) == {40, 2}


def test_rows_on_disk_are_read_by_each_fit(tmp_path: Any, rows: Rows) -> None:
    np.save(tmp_path / "x.npy", rows[0].astype(np.float32))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    in_memory = rows[0].astype(np.float32), rows[1]
    for backend in ("numpy", "jax"):
        many = bp.fit_many(network(), x, rows[1], folds=3, epochs=2, batch_size=16, backend=backend)
        for fit in many:
            assert_same(fit, *alone(fit, in_memory, backend, epochs=2, batch_size=16))


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"seeds": []}, bp.ConfigError, "at least one of seeds, got an empty list"),
    ({"optimizers": iter(())}, bp.ConfigError, "at least one of optimizers"),
    ({"l2": []}, bp.ConfigError, "at least one of l2"),
    ({"seeds": 0}, bp.ConfigError, "seeds to be a whole number of at least 1, got 0"),
    ({"seeds": [1, 2, 1]}, bp.ConfigError, "each of seeds once, got 1 twice"),
    ({"seeds": [-1]}, bp.ConfigError, "each of seeds to be a whole number of at least 0"),
    ({"seeds": itertools.count()}, bp.ConfigError, "at most 10000 of seeds, got more. Give a list that ends"),
    ({"seeds": 5000, "l2": [0, 1, 2]}, bp.ConfigError, "at most 10000 fits, got 15000"),
    ({"l2": [-1.0]}, bp.ConfigError, "l2 of at least 0, got -1.0"),
    ({"l2": "0.1"}, bp.ConfigError, "requires l2 of at least 0, got '0'"),
    ({"optimizers": ["adamm"]}, bp.ConfigError, "unknown optimizer 'adamm'"),
    ({"optimizers": 0.1}, bp.ConfigError, "requires optimizers in a list, got 0.1"),
    ({"folds": 1}, bp.ConfigError, "folds to be a whole number of at least 2"),
    ({"folds": 61}, bp.ConfigError, "at most as many folds as rows, and 1000, got 61 of 60 rows"),
    ({"folds": []}, bp.ConfigError, "from 1 to 1000 folds, got an empty list"),
    ({"folds": [([0, 1], [60])]}, bp.DataError, "fold 0, test, requires row numbers from 0 to 59, got 60"),
    ({"folds": [([0, 1], [])]}, bp.DataError, "fold 0, test, requires row numbers"),
    ({"folds": [[0, 1, 2]]}, bp.ConfigError, r"a pair \(train, test\)"),
    ({"folds": 2, "validation": ([[0.0] * 5], [0])}, bp.ConfigError, "folds or validation rows, got both"),
    ({"metrics": ["f1"]}, bp.ConfigError, "metrics require validation data"),
    ({"monitor": "accuracy"}, bp.ConfigError, "metrics require validation data"),
    ({"folds": 2, "monitor": "acuracy"}, bp.ConfigError, "Did you mean 'accuracy'"),
    ({"at_once": 0}, bp.ConfigError, "at_once to be a whole number of at least 1"),
    ({"epochs": None}, bp.ConfigError, "fit requires a limit"),
    ({"backend": "nunpy"}, bp.ConfigError, "Did you mean 'numpy'"),
    ({"progress": 1}, bp.ConfigError, "progress to be True or False"),
    ({"stop": bp.NoImprovement(2)}, bp.ConfigError, "NoImprovement requires validation data"),
]


@pytest.mark.parametrize(("settings", "kind", "message"), BAD)
def test_bad_settings_are_refused(settings: dict[str, Any], kind: type[Exception], message: str, rows: Rows) -> None:
    with pytest.raises(kind, match=message):
        bp.fit_many(network(), *rows, **{"epochs": 1, **settings})


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ([], "at least one of networks"),
        ({}, "at least one network"),
        ([network(), 3], r"requires a bp\.Network, a list or a dict of them, got 3"),
        (None, "requires networks in a list, got None"),
    ],
)
def test_bad_networks_are_refused(networks: Any, message: str, rows: Rows) -> None:
    with pytest.raises(bp.ConfigError, match=message):
        bp.fit_many(networks, *rows, epochs=1)
    with pytest.raises(bp.ConfigError, match=r"requires networks without bp\.L2"):
        bp.fit_many(network(bp.L2(0.1)), *rows, l2=0.1, epochs=1)


def test_rows_of_different_lengths_are_refused(rows: Rows) -> None:
    with pytest.raises(bp.ShapeError, match="the same number of rows"):
        bp.fit_many(network(), rows[0], rows[1][:-1], epochs=1)


def test_splitter_object_is_refused_with_the_right_call(rows: Rows) -> None:
    from sklearn.model_selection import KFold

    with pytest.raises(bp.ConfigError, match=r"folds=splitter.split\(x, y\)"):
        bp.fit_many(network(), *rows, folds=KFold(3), epochs=1)


def test_several_models_on_one_backend_raise_no_warning(rows: Rows) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bp.fit_many(network(), *rows, seeds=2, epochs=1, batch_size=20, backend="jax")
    assert training.TOGETHER >= 16


@pytest.mark.parametrize("at_once", [1, 2])
def test_log_counts_the_fits_alone(
    at_once: int, rows: Rows, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines of several fits in one log would not say whose they are."""
    monkeypatch.setattr(views.LogLines, "every", 0.0)
    with caplog.at_level(logging.INFO, "bpengine.training"):
        bp.fit_many(network(), *rows, seeds=3, epochs=2, at_once=at_once)
    lines = [record.getMessage().split(", ")[0] for record in caplog.records]
    assert lines == ["fit 1 of 3", "fit 2 of 3", "fit 3 of 3", "ended: fit 3 of 3"]
