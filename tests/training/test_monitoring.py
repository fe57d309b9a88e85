"""Metrics of the validation rows: recorded after each epoch, and watched by rules, by the best epoch and by checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.training.history import ScoreColumn
from tests.tolerances import agreement_rtol

NETWORK = bp.Network(5, [bp.Dense(8, "tanh"), bp.Dense(3)], "softmax_cross_entropy")
METRICS = ("f1", "roc_auc", "log_loss", "confusion_matrix")


def rows(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 5))
    return x, (x[:, :3] + rng.normal(size=(count, 3))).argmax(axis=1)


def fitted(backend: str = "numpy", **more: Any) -> tuple[bp.Model, bp.History]:
    model = bp.Model(NETWORK, backend, seed=1)
    settings = {"epochs": 40, "batch_size": 20, "optimizer": bp.Adam(0.02), "validation": rows(1), **more}
    return model, model.fit(*rows(0), **settings)


def test_metrics_are_recorded_after_each_epoch_and_change_nothing(backend_name: str) -> None:
    seen: list[dict[str, Any]] = []

    def look(model: bp.Model, epoch: Any) -> None:
        seen.append(model.evaluate(*rows(1), metrics=METRICS))

    plain, _ = fitted(backend_name, epochs=4)
    model, history = fitted(backend_name, epochs=4, metrics=METRICS, callbacks=look)
    assert [epoch.validation for epoch in history.epochs] == seen
    for name, value in plain.parameters.items():
        np.testing.assert_array_equal(model.parameters[name], value)
    scores = history.validation_scores
    assert list(scores) == ["loss", "accuracy", *METRICS]
    assert scores["f1"].tolist() == [score["f1"] for score in seen]
    assert scores["confusion_matrix"].shape == (4, 3, 3)
    assert fitted(epochs=1, validation=None)[1].validation_scores == {}


def largest(y_true: Any, prediction: Any) -> float:
    return float(prediction.max())


OWN = bp.Metric(largest, larger_is_better=False)
WATCHED: dict[str, tuple[Any, Any, bool]] = {
    "f1": ("f1", (), True),
    "recorded as well": ("roc_auc_weighted", ("f1",), True),
    "log_loss": ("log_loss", ("log_loss",), False),
    "accuracy": ("accuracy", (), True),
    "one's own": (OWN, (), False),
    "one's own, by name": ("largest", (OWN,), False),
}


@pytest.mark.parametrize("case", WATCHED)
def test_stopping_rule_monitors_any_score_in_its_direction(case: str) -> None:
    monitor, metrics, larger = WATCHED[case]
    name = monitor if isinstance(monitor, str) else monitor.name
    model, history = fitted(metrics=metrics, stop=bp.NoImprovement(6, monitor=monitor))
    scores = history.validation_scores[name]
    best = int(np.argmax(scores) if larger else np.argmin(scores))
    assert history.stopped_by == f"no improvement of {name} on validation data for 6 epochs"
    assert len(history.epochs) == best + 1 + 6
    restored = model.evaluate(*rows(1), metrics=[OWN] if name == "largest" else [name])
    assert restored[name] == pytest.approx(scores[best], rel=agreement_rtol("float32"))
    without = fitted(metrics=metrics, stop=bp.NoImprovement(6, 0.5, monitor=monitor))[1]
    assert len(without.epochs) == 7, "a change below min_delta is none"


def test_checkpoint_monitors_any_score(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    keep = bp.Checkpoint(path, best=True, monitor="f1")
    _, history = fitted(metrics=["f1"], callbacks=keep, epochs=30)
    best = history.validation_scores["f1"].max()
    assert bp.load(path).evaluate(*rows(1), metrics="f1")["f1"] == pytest.approx(best, rel=agreement_rtol("float32"))
    again = bp.Checkpoint(path, best=True, monitor="f1")
    again.restore(keep.state())
    path.unlink()
    fitted(metrics=["f1"], callbacks=again, epochs=30)
    assert not path.exists(), "no epoch is better than the best so far"
    with pytest.raises(bp.ConfigError, match=r"Checkpoint requires the validation score 'f1'.*metrics=\['f1'\] to fit"):
        fitted(callbacks=bp.Checkpoint(path, best=True, monitor="f1"))


def regression() -> tuple[bp.Model, Any]:
    return bp.Model(bp.Network(5, bp.Dense(1), "mean_squared_error")), (rows(0)[0], np.arange(60.0))


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no validation": ({"validation": None, "metrics": "f1"}, "metrics require validation data, got none"),
    "a table": ({"stop": bp.NoImprovement(3, monitor="confusion_matrix")}, "requires a number to watch, got 'confusion_"),
    "no direction": (
        {"metrics": [largest], "stop": bp.NoImprovement(3, monitor="largest")},
        r"whether a larger or a smaller 'largest' is better. Say it: bp.Metric\(largest, larger_is_better=False\)",
    ),
    "unknown": (
        {"metrics": [largest], "stop": bp.NoImprovement(3, monitor="larges")},
        "unknown metric that NoImprovement watches: 'larges'. Did you mean 'largest'",
    ),
    "another": (
        {"metrics": [bp.Metric(max, name="largest")], "stop": bp.NoImprovement(3, monitor=OWN)},
        "two called 'largest': that which NoImprovement watches, and another",
    ),
    "of values": ({"stop": bp.NoImprovement(3, monitor="mae")}, "metric 'mae' requires values to predict, got a network"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_invalid_monitor_is_refused_before_the_first_step(mistake: str) -> None:
    settings, text = MISTAKES[mistake]
    with pytest.raises(bp.ConfigError, match=text):
        fitted(**settings)


def test_unknown_monitor_is_refused_at_construction() -> None:
    no_name: Any = largest
    with pytest.raises(bp.ConfigError, match="NoImprovement requires monitor to be the name of a metric or"):
        bp.NoImprovement(3, monitor=no_name)
    with pytest.raises(bp.ConfigError, match="unknown metric that Checkpoint watches: 'f9'"):
        bp.Checkpoint("x", best=True, monitor="f9")
    with pytest.raises(bp.ConfigError, match="Checkpoint requires to know whether a larger"):
        bp.Checkpoint("x", best=True, monitor=bp.Metric(largest))


def test_scores_of_regression_are_monitored() -> None:
    model, data = regression()
    history = model.fit(*data, epochs=3, validation=data, metrics=["mae"], stop=bp.NoImprovement(2, monitor="r2"))
    assert list(history.epochs[0].validation or ()) == ["loss", "rmse", "mae", "r2"]
    assert (np.diff(history.validation_scores["mae"]) < 0).all()


def test_a_fit_that_goes_on_may_record_others() -> None:
    model, history = fitted(epochs=2, validation=None)
    more: dict[str, Any] = {"epochs": 2, "batch_size": 20, "validation": rows(1), "optimizer": bp.Adam(0.02)}
    for metrics in ((), ("f1", "confusion_matrix"), ("log_loss",)):
        history = model.fit(*rows(0), continue_from=history, metrics=metrics, **more)
    names = [list(epoch.validation or ()) for epoch in history.epochs]
    usual = ["loss", "accuracy"]
    assert names[::2] == names[1::2] == [[], usual, [*usual, "f1", "confusion_matrix"], [*usual, "log_loss"]]
    assert np.isnan(history.validation_scores["f1"]).tolist() == [True] * 4 + [False] * 2 + [True] * 2
    assert history.validation_scores["confusion_matrix"].shape == (8, 3, 3)
    assert history.validation_loss.shape == (6,)


def test_continued_fit_with_another_monitor_starts_a_new_best() -> None:
    model, history = fitted(epochs=3, stop=bp.NoImprovement(9, monitor="f1", restore_best=False))
    assert history.end is not None
    assert history.end.best.of == "f1"
    more: dict[str, Any] = {"batch_size": 20, "validation": rows(1), "optimizer": bp.Adam(0.0)}
    rule = bp.NoImprovement(2, monitor="log_loss", restore_best=False)
    history = model.fit(*rows(0), epochs=9, continue_from=history, stop=rule, **more)
    assert history.end is not None
    assert (len(history.epochs), history.end.best.of, history.end.best.epoch) == (6, "log_loss", 4)


def test_a_run_that_goes_on_from_a_fit_without_them_is_resumed(tmp_path: Path) -> None:
    def run(**more: Any) -> bp.History:
        model, history = fitted(epochs=2, validation=None)
        settings = {"batch_size": 20, "validation": rows(1), "metrics": METRICS, "optimizer": bp.Adam(0.02)}
        rule = bp.NoImprovement(9, monitor="f1")
        return model.fit(*rows(0), epochs=3, continue_from=history, stop=rule, **settings, **more)

    def results(history: bp.History) -> Any:
        assert history.end is not None
        best = history.end.best
        return [epoch.validation for epoch in history.epochs], best.of, best.lowest, best.epoch

    folder = bp.RunFolder(tmp_path, every=4, keep=9)
    expected = results(run())
    assert results(run(run=folder)) == expected
    assert results(run(run=folder, resume=True)) == expected, "over"
    max(tmp_path.glob("*.ckpt")).unlink()
    assert results(run(run=folder, resume=True)) == expected


def test_a_score_column_fills_gaps_before_between_and_after() -> None:
    column = ScoreColumn()
    for score, before in ((0.5, 2), (None, 3), (0.25, 4)):
        column.add(score, 1, before)
    assert [column.at(i) for i in range(5)] == [None, None, 0.5, None, 0.25]
    column.cut(3)
    column.add(1.0, 2, 3)
    assert [column.at(i) for i in range(5)] == [None, None, 0.5, 1.0, 1.0]


class Copying(NumpyBackend):
    """NumPy; knows the parts of each state that it copied."""

    def __init__(self) -> None:
        super().__init__()
        self.copied = list[set[str]]()

    def copy(self, state: Any) -> Any:
        self.copied.append(set(state))
        return super().copy(state)


def test_a_callback_costs_no_copy_of_what_the_optimizer_keeps() -> None:
    backend = Copying()
    model = bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"), backend)
    model.fit([[1.0, 2.0]], [[1.0]], epochs=1, optimizer="adam")
    without = len(backend.copied)
    model.fit([[1.0, 2.0]], [[1.0]], epochs=3, optimizer="adam", callbacks=lambda model, epoch: False)
    assert backend.copied[2 * without :] == [{"params", "running"}] * 3
