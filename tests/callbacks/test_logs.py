"""Logs of epochs, read back: what they say, what they say after an interruption, and that they change nothing."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import bpengine as bp
from bpengine.callbacks import CSVLog, JSONLog, TensorBoard
from bpengine.callbacks.epoch_log import EpochLog
from bpengine.extras import install_command
from tests.callbacks.events import scalars

NET = bp.Network(2, [bp.Dense(3, "relu", bias_init=[-9.0, 0.0, 1.0]), bp.Dense(1)], "sigmoid_cross_entropy")
XOR = bp.data.load("xor")
X, Y = XOR.x, XOR.y
SETTINGS: dict[str, Any] = {"optimizer": bp.SGD(0.1), "batch_size": 2, "validation": (X, Y)}


def read_csv(path: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def read_json(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


READ = {CSVLog: read_csv, JSONLog: read_json}
files = pytest.mark.parametrize("kind", [CSVLog, JSONLog], ids=["csv", "json"])


def epochs_in(kind: Any, path: Path) -> list[int]:
    return [int(row["epoch"]) for row in READ[kind](path)]


@files
def test_log_file_agrees_with_the_history(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "log"
    history = bp.Model(NET).fit(X, Y, epochs=3, **SETTINGS, callbacks=kind(path))
    rows = READ[kind](path)
    for row, expected in zip(rows, history.epoch_rows(), strict=True):
        assert list(row) == list(expected)
        assert {name: float(value) for name, value in row.items()} == expected


def test_a_csv_log_is_read_by_pandas_and_holds_tables(tmp_path: Path) -> None:
    metrics = ["confusion_matrix"]
    bp.Model(NET).fit(X, Y, epochs=2, **SETTINGS, metrics=metrics, callbacks=CSVLog(tmp_path / "a.csv"))
    frame = pandas.read_csv(tmp_path / "a.csv")
    assert frame["epoch"].tolist() == [1, 2]
    assert np.shape(json.loads(frame["validation_confusion_matrix"][0])) == (2, 2)


@files
def test_resumed_fit_logs_no_epoch_twice(kind: Any, tmp_path: Path) -> None:
    run = bp.RunFolder(tmp_path / "run", every=4)
    path = tmp_path / "log"
    with pytest.raises(Killed):
        bp.Model(NET).fit(X, Y, epochs=8, **SETTINGS, run=run, callbacks=[kind(path), Boom(3)])
    assert epochs_in(kind, path)[-1] >= 3
    with path.open("a", encoding="utf-8") as file:
        file.write('{"epoch": 9')  # a line that a killed process did not write to its end
    whole = bp.Model(NET).fit(X, Y, epochs=8, **SETTINGS, run=run, resume=True, callbacks=[kind(path), Boom(99)])
    assert epochs_in(kind, path) == list(range(1, 9))
    assert [float(row["loss"]) for row in READ[kind](path)] == [epoch.loss for epoch in whole.epochs]


class Killed(BaseException):
    """An exception that the engine does not catch."""


class Boom:
    """Ends the fit as a killed process would, at an epoch."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self, model: bp.Model, epoch: bp.training.Epoch) -> None:
        if epoch.number == self.at:
            raise Killed


@files
def test_a_fit_that_continues_another_goes_on_in_its_file(kind: Any, tmp_path: Path) -> None:
    model, path = bp.Model(NET), tmp_path / "log"
    first = model.fit(X, Y, epochs=2, **SETTINGS, callbacks=kind(path))
    model.fit(X, Y, epochs=3, **SETTINGS, continue_from=first, callbacks=kind(path))
    assert epochs_in(kind, path) == [1, 2, 3, 4, 5]


@files
def test_another_fit_begins_the_file_anew(kind: Any, tmp_path: Path) -> None:
    log = kind(tmp_path / "log")
    bp.Model(NET).fit(X, Y, epochs=4, **SETTINGS, callbacks=log)
    bp.Model(NET).fit(X, Y, epochs=2, **SETTINGS, callbacks=log)
    assert epochs_in(kind, tmp_path / "log") == [1, 2]


def test_a_score_that_comes_later_gets_its_column(tmp_path: Path) -> None:
    model, path = bp.Model(NET), tmp_path / "log.csv"
    first = model.fit(X, Y, epochs=1, optimizer=bp.SGD(0.1), batch_size=2, callbacks=CSVLog(path))
    model.fit(X, Y, epochs=1, **SETTINGS, continue_from=first, callbacks=CSVLog(path))
    rows = read_csv(path)
    assert rows[0]["validation_loss"] == ""
    assert float(rows[1]["validation_loss"]) > 0


@files
@pytest.mark.parametrize("text", ["a,b\n1,2\n", "not json", '[1]\n{"a": 2}\n'])
def test_foreign_file_is_refused_and_kept(kind: Any, text: str, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(text + "\n")
    with pytest.raises(bp.ConfigError, match="requires a file that it wrote itself"):
        kind(path)
    assert path.read_text() == text + "\n"


@files
def test_a_folder_that_does_not_exist_is_refused_before_the_fit(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(bp.WriteError):
        kind(tmp_path / "none" / "log")


@files
def test_a_full_disk_ends_the_fit_with_the_epoch_and_whole_lines(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Any, line: str) -> None:
        raise bp.WriteError("no space is left")

    model, path = bp.Model(NET), tmp_path / "log"
    alone = bp.Model(NET)
    alone.fit(X, Y, epochs=1, **SETTINGS)
    monkeypatch.setattr("bpengine.callbacks.epoch_log.add_line", full)
    with pytest.raises(bp.WriteError, match="no space"):
        model.fit(X, Y, epochs=3, **SETTINGS, callbacks=kind(path))
    for name, value in alone.parameters.items():
        assert np.array_equal(model.parameters[name], value)


def test_layers_are_logged_from_sensitivity(tmp_path: Path) -> None:
    model = bp.Model(NET, dtype="float64")
    log = CSVLog(tmp_path / "log.csv", layers=(X, Y))
    model.fit(X, Y, epochs=2, **SETTINGS, callbacks=log)
    last, layers = read_csv(log.path)[-1], bp.sensitivity(model, X, Y).layers
    for layer in layers:
        assert float(last[f"{layer.place}.gradient_norm"]) == layer.norm
        assert float(last[f"{layer.place}.dead_units"]) == len(layer.dead)
        assert float(last[f"{layer.place}.saturated_units"]) == len(layer.saturated)
    assert float(last["0.dead_units"]) >= 1


def test_tensorboard_is_read_back_with_its_checksums(tmp_path: Path) -> None:
    history = bp.Model(NET).fit(X, Y, epochs=3, **SETTINGS, callbacks=TensorBoard(tmp_path / "runs", layers=(X, Y)))
    shown = scalars(tmp_path / "runs")
    steps = [epoch.steps for epoch in history.epochs]
    assert [step for step, _ in shown["loss/training"]] == steps
    assert [v for _, v in shown["loss/training"]] == pytest.approx([e.loss for e in history.epochs], rel=1e-6)
    assert [v for _, v in shown["loss/validation"]] == pytest.approx(history.validation_loss, rel=1e-6)
    assert {"accuracy/validation", "learning_rate", "layer_0/dead_units", "layer_1/gradient_norm"} <= set(shown)
    assert shown["layer_0/dead_units"][-1][1] >= 1


def test_tensorboard_goes_on_after_an_interruption(tmp_path: Path) -> None:
    run, folder = bp.RunFolder(tmp_path / "run", every=4), tmp_path / "runs"
    with pytest.raises(Killed):
        bp.Model(NET).fit(X, Y, epochs=6, **SETTINGS, run=run, callbacks=[TensorBoard(folder), Boom(3)])
    bp.Model(NET).fit(X, Y, epochs=6, **SETTINGS, run=run, resume=True, callbacks=[TensorBoard(folder), Boom(99)])
    assert len(list(folder.iterdir())) == 2
    assert [step for step, _ in scalars(folder)["loss/training"]] == [2, 4, 6, 8, 10, 12]


def test_tensorboard_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bpengine.callbacks.tensorboard.find_spec", lambda name: None)
    with pytest.raises(
        bp.ConfigError, match=rf"tensorboardX, which is not installed. .*{re.escape(install_command('tensorboard'))}"
    ):
        TensorBoard(tmp_path)


def test_rows_for_layers_are_a_tuple(tmp_path: Path) -> None:
    with pytest.raises(bp.ConfigError, match=r"requires layers=\(x, y\)"):
        CSVLog(tmp_path / "log.csv", layers=X)


class Counted(EpochLog):
    """Counts the epochs that it sees."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.epochs: list[int] = []

    def _begin(self, epoch: bp.training.Epoch) -> None:
        self.epochs.clear()

    def _add(self, epoch: bp.training.Epoch, scalars: Any) -> None:
        self.epochs.append(epoch.number)


def segments(monkeypatch: pytest.MonkeyPatch, callbacks: Any) -> tuple[bp.History, list[int]]:
    """Return the history of a fit on full batches, and how many steps each call of the backend had."""
    model, sizes = bp.Model(NET), []
    run_epoch = type(model.backend).run_epoch

    def noted(self: Any, step: Any, state: Any, data: Any, order: Any, rates: Any, **more: Any) -> Any:
        sizes.append(len(rates))
        return run_epoch(self, step, state, data, order, rates, **more)

    monkeypatch.setattr(type(model.backend), "run_epoch", noted)
    return model.fit(X, Y, epochs=300, optimizer=bp.SGD(0.1), callbacks=callbacks), sizes


def test_log_receives_each_epoch_of_one_compiled_run(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Counted()
    history, sizes = segments(monkeypatch, log)
    assert max(sizes) > 1
    alone, _ = segments(monkeypatch, None)
    assert log.epochs == list(range(1, 301))
    assert np.array_equal(history.loss, alone.loss)


def test_log_that_reads_the_model_gets_the_parameters_of_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    _, sizes = segments(monkeypatch, Counted(layers=(X, Y)))
    assert set(sizes) == {1}


def test_numbers_that_are_not_finite_stay_readable(tmp_path: Path) -> None:
    epoch = bp.training.Epoch(
        number=1, steps=2, loss=math.inf, learning_rate=0.1, seconds=0.0, validation={"loss": math.nan}
    )
    csv_log, json_log = CSVLog(tmp_path / "a.csv"), JSONLog(tmp_path / "a.jsonl")
    model = bp.Model(NET)
    csv_log(model, epoch)
    json_log(model, epoch)
    assert math.isinf(float(read_csv(csv_log.path)[0]["loss"]))
    assert read_json(json_log.path)[0]["validation_loss"] is None
