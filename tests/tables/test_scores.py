"""Scores on the command line: `train --metrics`, what stops it, `predict --metrics`, and what is told of a mistake."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

import bpengine as bp
from tests.cli.conftest import cli, mistake
from tests.tables import samples
from tests.tolerances import value_rtol

__all__ = ["cli", "mistake"]
FEW = ("--epochs", "5", "--layers", "4")
pytestmark = pytest.mark.filterwarnings("always")  # lines on stderr, as outside tests


def trained(cli: Any, *args: object) -> dict[str, Any]:
    ended = cli("train", *args, *FEW, "--json")
    assert (ended.code, ended.err) == (0, "")
    summary: dict[str, Any] = json.loads(ended.out)
    return summary


def test_scores_of_classes_stand_under_their_names_for_every_part(cli: Any, tmp_path: Path) -> None:
    path, target = samples.adult(tmp_path, 300)
    saved, asked = tmp_path / "m.safetensors", "f1, roc_auc,log_loss,confusion_matrix"
    summary = trained(cli, path, "--target", target, "--validation", "0.2", "--metrics", asked, "--out", saved)
    names = ["f1", "roc_auc", "log_loss", "confusion_matrix"]
    assert summary["metrics"] == names
    assert list(summary["scores_by_part"]) == ["training", "validation", "test"]
    for scores in summary["scores_by_part"].values():
        assert list(scores) == ["loss", "accuracy", *names]
    assert summary["scores_by_part"]["test"]["confusion_matrix"] == summary["confusion"]
    ended = cli("predict", saved, path, "--metrics", "f1,confusion_matrix,roc_auc")
    predicted = pd.read_csv(io.StringIO(ended.out))
    truth = pd.read_csv(path, skipinitialspace=True)[target]
    wanted = sk.f1_score(truth, predicted["class"], pos_label=">50K")
    area = sk.roc_auc_score(truth, predicted["p(>50K)"])
    table = sk.confusion_matrix(truth, predicted["class"]).tolist()
    assert f"f1 {wanted:.4f}, confusion_matrix {table}, roc_auc {area:.4f}\n" in ended.err


def test_scores_of_values_are_in_their_own_unit(cli: Any, tmp_path: Path) -> None:
    path, target = samples.european(tmp_path, 300)
    saved = tmp_path / "m.safetensors"
    scores = trained(cli, path, "--target", target, "--test", "0", "--metrics", "r2,mae", "--out", saved)["scores"]
    data = bp.data.load(path, target=target)
    truth, predicted = np.asarray(data.y, float), bp.load(saved).predict(data.x)
    wanted = sk.r2_score(truth, predicted), sk.mean_absolute_error(truth, predicted)
    assert (scores["r2"], scores["mae"]) == pytest.approx(wanted, rel=value_rtol("float32", len(truth)))


def test_printed_table_has_a_line_for_each_score(cli: Any, tmp_path: Path) -> None:
    path, target = samples.adult(tmp_path, 200)
    ended = cli("train", path, "--target", target, *FEW, "--metrics", "f1_weighted,recall", "--validation", "0.2")
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["training", "validation", "test"] in lines
    numbers = {line[0]: line[1:] for line in lines if len(line) == 4}
    assert "120 rows to train on, 40 to validate, 40 held out to test" in ended.out
    assert all(re.fullmatch(r"[01]\.\d{4}", number) for name in ("f1_weighted", "recall") for number in numbers[name])
    assert any(line[:3] == ["accuracy", "of", "always"] and len(line) == 8 for line in lines)


@pytest.mark.parametrize("options", [("--validation", "0.2"), ()], ids=["named", "by itself"])
def test_early_stopping_watches_a_score_that_is_named(options: tuple[str, ...], cli: Any, tmp_path: Path) -> None:
    path, target = samples.adult(tmp_path, 200)
    watched = ("--epochs", "500", "--learning-rate", "0.05", "--early-stopping", "4", "--monitor", "balanced_accuracy")
    ended = cli("train", path, "--target", target, "--layers", "4", *watched, *options, "--json")
    summary = json.loads(ended.out)
    assert summary["stopped_by"] == "no improvement of balanced_accuracy on validation data for 4 epochs"
    assert summary["metrics"] == ["balanced_accuracy"]
    assert "balanced_accuracy" in summary["scores"]


MISTAKES = {
    ("--metrics", "r2"): "metric 'r2' requires values to predict, got a network for two classes",
    ("--metrics", "f3"): "unknown metric 'f3'. Did you mean 'f1'",
    ("--metrics", "f1,"): "--metrics requires names separated by commas, such as f1,roc_auc, got 'f1,'",
    ("--monitor", "f1"): "--monitor f1 requires --early-stopping N, got none",
    ("--early-stopping", "3", "--monitor", "f3"): "unknown metric that --monitor watches: 'f3'",
    ("--early-stopping", "3", "--monitor", "confusion_matrix"): "--monitor requires a number to watch",
}


@pytest.mark.parametrize("options", MISTAKES, ids=" ".join)
def test_invalid_metric_options_are_refused_in_one_line(options: tuple[str, ...], mistake: Any, tmp_path: Path) -> None:
    path, target = samples.adult(tmp_path, 100)
    assert MISTAKES[options] in mistake("train", path, "--target", target, *options)


def test_a_part_without_rows_of_a_class_is_told_before_the_training(mistake: Any, tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": np.arange(60.0), "kind": ["x", "y", "z"] * 20})
    rows.to_csv(tmp_path / "train.csv", index=False)
    rows[rows.kind != "y"].to_csv(tmp_path / "test.csv", index=False)
    out = tmp_path / "m.safetensors"
    options = ("--test", tmp_path / "test.csv", "--metrics", "roc_auc", "--out", out)
    line = mistake("train", tmp_path / "train.csv", *options)
    assert "'roc_auc' is not defined on the test rows: they have none of class 1, counted from 0." in line
    assert not out.exists()


def test_predictions_without_targets_have_no_scores(mistake: Any, cli: Any, tmp_path: Path) -> None:
    path, target = samples.adult(tmp_path, 100)
    saved = tmp_path / "m.safetensors"
    assert cli("train", path, "--target", target, *FEW, "--out", saved).code == 0
    assert "drop it, or --target, --evaluate and --metrics" in mistake(
        "predict", saved, path, "--no-target", "--metrics", "f1"
    )
    assert "metric 'mae' requires values to predict" in mistake("predict", saved, path, "--metrics", "mae")
