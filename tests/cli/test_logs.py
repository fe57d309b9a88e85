"""`bpengine train --log --tensorboard`, and `bpengine compare` without one of its backends."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from bpengine.backend import Availability
from bpengine.cli import backend_status
from tests.callbacks.events import scalars

ABSENT = Availability("no driver", "no driver was found.", "Install one.")


def test_train_keeps_logs_that_can_be_read_back(cli: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    line = (
        "train",
        "iris",
        "--epochs",
        "3",
        "--validation",
        "0.2",
        "--log",
        "run",
        "--tensorboard",
        "runs",
        "--log-layers",
    )
    assert cli(*line).code == 0
    rows = list(csv.DictReader((tmp_path / "run" / "epochs.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["0.gradient_norm"]) > 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == [float(row["loss"]) for row in rows]
    shown = scalars(tmp_path / "runs")
    assert [value for _, value in shown["loss/training"]] == pytest.approx([line["loss"] for line in lines], rel=1e-6)
    assert "layer_0/dead_units" in shown


def test_logs_that_exist_are_not_overwritten_unless_asked(cli: Any, mistake: Any, tmp_path: Path) -> None:
    line = ("train", "xor", "--test", "0", "--epochs", "2", "--log", tmp_path / "run")
    assert cli(*line).code == 0
    assert "exists already. Choose another --log, or pass --force" in mistake(*line)
    assert cli(*line, "--force").code == 0


def test_a_resumed_run_goes_on_in_its_log(cli: Any, tmp_path: Path) -> None:
    line = ("train", "xor", "--test", "0", "--log", tmp_path / "log", "--checkpoint", tmp_path / "run", "--resume")
    assert cli(*line, "--epochs", "2").code == 0
    assert cli(*line, "--epochs", "4").code == 0
    lines = (tmp_path / "log" / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]


def test_log_options_require_a_log_and_a_folder(mistake: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "--log-layers requires --log FOLDER or --tensorboard FOLDER" in mistake("train", "xor", "--log-layers")
    assert "--log requires a folder" in mistake("train", "xor", "--log", tmp_path / "file")
    assert "requires a folder, got the file" in mistake("train", "xor", "--tensorboard", tmp_path / "file")


def absent(*names: str) -> Any:
    there = backend_status.availability
    return lambda name: ABSENT if name in names else there(name)


def test_compare_leaves_out_a_backend_that_cannot_run(cli: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(backend_status, "availability", absent("cupy"))
    line = ("compare", "xor", "--backends", "numpy,cupy,numpy", "--steps", "1", "--layers", "3")
    ended = cli(*line)
    assert ended.code == 0
    assert "cupy: no driver was found. Install one." in ended.out
    assert json.loads(cli(*line, "--json").out)["missing"] == {"cupy": "no driver was found. Install one."}


@pytest.mark.parametrize(("names", "left"), [("numpy,cupy", "only 'numpy'"), ("jax,cupy", "none")])
def test_compare_fails_when_fewer_than_two_are_left(names: str, left: str, mistake: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(backend_status, "availability", absent("cupy", "jax"))
    said = mistake("compare", "xor", "--backends", names)
    assert f"requires two backends that can run here, got {left}" in said
    assert "cupy: no driver was found. Install one." in said
