"""`train` and `predict` on ordinary tables: what is decided and said, splits, weights, warnings, and how well they do."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn import datasets

import bpengine as bp
from bench import table_contenders, tables_scores
from bench.table_contenders import OWN
from tests.cli.conftest import cli, mistake
from tests.tables import peers, samples

__all__ = ["cli", "mistake"]
FEW = ("--epochs", "5", "--layers", "4")


pytestmark = pytest.mark.filterwarnings("always")  # lines on stderr, as outside tests


def trained(cli: Any, *args: object) -> dict[str, Any]:
    ended = cli("train", *args, "--json")
    assert ended.code == 0, ended.err
    report: dict[str, Any] = json.loads(ended.out)
    return report


def test_each_column_has_a_line(cli: Any, tmp_path: Path) -> None:
    path, target = samples.adult(tmp_path, 300)
    ended = cli("train", path, "--target", target, *FEW)
    assert (ended.code, ended.err) == (0, "")
    uses = {line.split("  ")[0]: line.split()[1:] for line in ended.out.splitlines() if "  " in line}
    assert uses["age"][0] == uses["hours-per-week"][0] == "number"
    assert uses["workclass"][:2] == ["category", "3"]
    assert "240 rows to train on, 60 held out to test (drawn with seed 0, every class in its share)" in ended.out
    assert "Confusion matrix of the test rows:" in ended.out


@pytest.mark.parametrize("sample", samples.MIXED, ids=lambda f: f.__name__)
def test_every_sample_trains_and_predicts_without_options(sample: Any, cli: Any, tmp_path: Path) -> None:
    path, target = sample(tmp_path, 300)
    saved = tmp_path / "m.safetensors"
    assert cli("train", path, "--target", target, "--out", saved, *FEW).code == 0
    frame = pd.read_csv(path, sep=";" if sample is samples.european else ",", skipinitialspace=True, dtype=str)
    empty = frame.assign(**{target: ""})[frame.columns[::-1]]
    empty.to_csv(tmp_path / "new.csv", index=False, sep=";")
    first, again = cli("predict", saved, path), cli("predict", saved, tmp_path / "new.csv")
    assert first.code == again.code == 0, again.err
    assert first.out == again.out


def test_a_set_and_its_file_give_the_same_model(cli: Any, tmp_path: Path) -> None:
    path, target = samples.scikit("iris", tmp_path)
    cli("train", "iris", *FEW, "--out", tmp_path / "a.safetensors")
    cli("train", path, "--target", target, *FEW, "--out", tmp_path / "b.safetensors")
    one, other = (bp.load(tmp_path / f"{name}.safetensors") for name in "ab")
    for name, value in one.parameters.items():
        np.testing.assert_array_equal(value, other.parameters[name])
    x = datasets.load_iris().data
    np.testing.assert_array_equal(one.predict(x), other.predict(x))
    assert (
        cli("predict", tmp_path / "a.safetensors", path).out == cli("predict", tmp_path / "b.safetensors", "iris").out
    )


def test_text_beside_an_array_names_the_classes(cli: Any, tmp_path: Path) -> None:
    bunch = datasets.load_iris()
    x, y, saved = tmp_path / "x.npy", tmp_path / "y.npy", tmp_path / "m.safetensors"
    np.save(x, bunch.data)
    np.save(y, bunch.target_names[bunch.target])
    summary = trained(cli, x, "--target", y, "--out", saved)
    assert bp.load(saved).class_names == ("setosa", "versicolor", "virginica")
    evaluated = cli("predict", saved, x, "--target", y, "--evaluate", "--limit", "50")
    assert {row[1] for row in list(csv.reader(io.StringIO(evaluated.out)))[1:]} == {"setosa"}
    assert "accuracy 1.0000" in evaluated.err
    assert summary["scores"]["accuracy"] > 0.8
    assert "requires a target of numbers, got text" in cli("train", x, "--target", y, "--task", "regression").err


def test_validation_and_test_rows_are_drawn_or_come_from_files(cli: Any, tmp_path: Path) -> None:
    path, target = samples.penguins(tmp_path, 200)
    report = trained(cli, path, "--target", target, *FEW, "--validation", "0.2", "--test", "0.1")
    assert (report["rows"], report["validation_rows"], report["held_out_rows"]) == (140, 40, 20)
    frame = pd.read_csv(path)
    frame[:150].to_csv(tmp_path / "train.csv", index=False)
    frame[150:].to_csv(tmp_path / "test.csv", index=False)
    args = ("--target", target, *FEW, "--test", tmp_path / "test.csv", "--validation", tmp_path / "test.csv")
    report = trained(cli, tmp_path / "train.csv", *args)
    assert (report["rows"], report["held_out_rows"], report["validation_rows"]) == (150, 50, 50)
    assert report["scores_by_part"]["test"] == report["scores_by_part"]["validation"]
    assert set(report["scores_by_part"]) == {"training", "validation", "test"}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("--test", "FILE"), "40 rows to train on, 10 held out to test"),
        (
            ("--test", "FILE", "--validation", "0.2"),
            "32 rows to train on, 8 to validate (drawn with seed 0, every class in its share), 10 held out to test",
        ),
        (
            ("--test", "0.2", "--validation", "FILE"),
            "32 rows to train on, 8 held out to test (drawn with seed 0, every class in its share), 10 to validate",
        ),
    ],
    ids=["test", "test beside validation", "validation beside test"],
)
def test_rows_of_a_file_are_not_reported_as_drawn(parts: tuple[str, ...], said: str, cli: Any, tmp_path: Path) -> None:
    for name, rows in (("train", 40), ("other", 10)):
        content = "a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(rows))
        (tmp_path / f"{name}.csv").write_text(content)
    named = [str(tmp_path / "other.csv") if part == "FILE" else part for part in parts]
    assert said in cli("train", tmp_path / "train.csv", *FEW, *named).out.splitlines()


def test_a_mistake_names_the_file_that_it_is_in(cli: Any, mistake: Any, tmp_path: Path) -> None:
    path, target = samples.penguins(tmp_path, 60)
    other = tmp_path / "other.csv"
    pd.read_csv(path).assign(**{target: "yeti"}).to_csv(other, index=False)
    said = mistake("train", path, "--target", target, *FEW, "--test", other)
    assert said.startswith(f"bpengine: error: {other}: row 0 has the class 'yeti'")
    saved = tmp_path / "m.safetensors"
    assert cli("train", path, "--target", target, *FEW, "--out", saved).code == 0
    (tmp_path / "bare.csv").write_text("1,2\n3,4\n")
    assert mistake("predict", saved, tmp_path / "bare.csv").startswith(
        f"bpengine: error: {tmp_path / 'bare.csv'}: the model"
    )


def test_features_are_learned_from_the_training_rows_alone(cli: Any, tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": [*np.arange(40.0), 1e6], "y": [0.5 * i for i in range(41)]})
    rows[:40].to_csv(tmp_path / "train.csv", index=False)
    rows[40:].to_csv(tmp_path / "test.csv", index=False)
    report = trained(cli, tmp_path / "train.csv", *FEW, "--test", tmp_path / "test.csv")
    assert report["columns"][0]["use"].startswith("standardised: mean 19.5,")


def test_columns_are_chosen(cli: Any, mistake: Any, tmp_path: Path) -> None:
    path, target = samples.titanic(tmp_path, 200)
    chosen = ("--target", target, *FEW)
    report = trained(cli, path, *chosen, "--features", "Age,Sex", "--categorical", "Age")
    assert [c["name"] for c in report["columns"]] == ["Age", "Sex", target]
    report = trained(cli, path, *chosen, "--drop", "Name, Fare", "--no-standardize")
    assert {"Name", "Fare"}.isdisjoint(c["name"] for c in report["columns"])
    assert next(c for c in report["columns"] if c["name"] == "Age")["use"].startswith("as it is; missing: ")
    assert "Give one of them" in mistake("train", path, *chosen, "--drop", "Age", "--features", "Sex")
    assert "unknown column 'Aeg'" in mistake("train", path, *chosen, "--drop", "Aeg")
    assert "unknown task 'guess'" in mistake("train", path, *chosen, "--task", "guess")
    assert "unknown rule for missing cells 'keep'" in mistake("train", path, *chosen, "--missing", "keep")


def test_rows_with_missing_cells_may_be_left_out(cli: Any, tmp_path: Path) -> None:
    path, target = samples.titanic(tmp_path, 200)
    ended = cli("train", path, "--target", target, *FEW, "--missing", "drop", "--json")
    kept = pd.read_csv(path, na_values=["?"]).dropna()
    report = json.loads(ended.out)
    assert report["rows"] + report["held_out_rows"] == len(kept)
    assert f"{200 - len(kept)} of 200 rows have missing cells and are left out" in ended.err


def test_network_options_of_train_build_the_network_they_name(cli: Any, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    args = ("--layers", "5", "--batch-norm", "--dropout", "0.1", "--l1", "0.01", "--l2", "0.1", "--epochs", "2")
    trained(cli, "diabetes", *args, "--output-activation", "softplus", "--out", out)
    expected = bp.Network(
        10,
        [bp.Dense(5), bp.BatchNorm(), bp.Activation("relu"), bp.Dropout(0.1), bp.Dense(1, "softplus")],
        "mean_squared_error",
        [bp.L1(0.01), bp.L2(0.1)],
    )
    loaded = bp.load(out)
    assert loaded.network == expected
    assert not loaded.features.target.scaled  # type: ignore[union-attr]


def test_balanced_class_weight_finds_more_rows_of_the_rare_class(cli: Any, mistake: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=400)})
    frame["y"] = np.where(frame.a + rng.normal(size=400) > 2.2, "rare", "usual")
    frame.to_csv(tmp_path / "t.csv", index=False)
    plain = trained(cli, tmp_path / "t.csv", "--epochs", "40")
    fair = trained(cli, tmp_path / "t.csv", "--epochs", "40", "--class-weight", "balanced")
    assert sum(row[0] for row in fair["confusion"]) > sum(row[0] for row in plain["confusion"])
    assert "requires classes" in mistake("train", "diabetes", "--class-weight", "balanced")
    assert "requires 'balanced'" in mistake("train", "iris", "--class-weight", "even")


def test_early_stopping_watches_the_validation_rows(cli: Any, tmp_path: Path) -> None:
    path, target = samples.penguins(tmp_path, 120)
    args = ("--target", target, "--epochs", "3000", "--learning-rate", "0.05")
    report = trained(cli, path, *args, "--validation", "0.3", "--test", "0", "--early-stopping", "3")
    assert report["epochs"] < 3000


def test_rows_held_out_to_test_never_choose_the_epoch(cli: Any, tmp_path: Path) -> None:
    path, target = samples.penguins(tmp_path, 160)
    table = pd.read_csv(path)
    table[:120].to_csv(tmp_path / "train.csv", index=False)
    how = ("--target", target, "--epochs", "3000", "--learning-rate", "0.05", "--early-stopping", "3")
    reports = []
    for name, rows in (("one", table[120:140]), ("other", table[140:])):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        reports.append(trained(cli, tmp_path / "train.csv", *how, "--test", tmp_path / f"{name}.csv"))
    one, other = reports
    assert one["scores"] != other["scores"]
    for name in ("steps", "best_epoch", "stopped_by", "validation_rows"):
        assert one[name] == other[name], name
    assert one["scores_by_part"]["training"] == other["scores_by_part"]["training"]
    assert (one["rows"], one["validation_rows"], one["monitor"]) == (109, 11, "loss")
    ended = cli("train", tmp_path / "train.csv", *how, "--test", "0")
    assert "109 rows to train on, 11 to validate (drawn with seed 0, every class in its share)" in ended.out
    assert re.search(r"kept +epoch \d+ of \d+, which has the lowest loss on the validation rows", ended.out)


def test_the_loss_is_named_with_its_penalty(cli: Any, tmp_path: Path) -> None:
    path, target = samples.penguins(tmp_path, 120)
    saved, args = tmp_path / "m.safetensors", ("train", path, "--target", target, *FEW)
    for options, name in (
        ((), "loss with penalty "),
        (("--l2", "0"), "loss "),
        (("--l1", "1e-3"), "loss with penalty "),
    ):
        lines = cli(*args, *options, "--out", saved, "--force").out.splitlines()
        assert len([line for line in lines if line.startswith("loss")]) == 1
        assert any(line.startswith(name) and line.split()[-2][0].isdigit() for line in lines), options
        assert cli("predict", saved, path, "--evaluate").err.startswith(name)
    values = cli("train", "diabetes", *FEW).out
    assert "\nloss with penalty (standardised) " in values
    assert "\nrmse (standardised) " in values


def test_score_below_the_trivial_predictor_is_reported(cli: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pd.DataFrame({"a": rng.normal(size=40), "y": rng.normal(size=40)}).to_csv(tmp_path / "t.csv", index=False)
    ended = cli("train", tmp_path / "t.csv", "--epochs", "800", "--learning-rate", "0.05", "--l2", "0")
    assert "Note: it is worse than saying the mean on the test rows." in ended.out


def test_train_prints_warnings_about_columns(cli: Any, tmp_path: Path) -> None:
    def said(content: str, *args: str) -> str:
        (tmp_path / "t.csv").write_text(content)
        ended = cli("train", tmp_path / "t.csv", *FEW, *args)
        assert ended.code == 0, ended.err
        return str(ended.err)

    counting = ",a,y\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(40))
    assert "the column 'column 0' is left out: it has no name and counts the rows" in said(counting)
    assert "of a single class" in said("a,y\n" + "".join(f"{i},x\n" for i in range(40)))
    marks = "a,b,y\n" + "".join(f"{i % 9 if i % 7 else 'n/d'},{i},{i % 2}\n" for i in range(40))
    assert said(marks).count("cells are numbers, the others are 'n/d'. --na-values n/d") == 1
    assert said(marks, "--na-values", "n/d") == ""
    scales = "a,b,y\n" + "".join(f"{i % 5},{i % 7 * 1e6},{i % 2}\n" for i in range(40))
    assert "very different scales" in said(scales, "--no-standardize")
    assert said(scales) == ""
    identifier = "a,y\n" + "".join(f"{i % 5},user{i}\n" for i in range(60))
    assert "the target looks like an identifier" in said(identifier, "--test", "0")


def test_predictions_are_written_with_names(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = samples.housing(tmp_path, 200)
    saved, out = tmp_path / "m.safetensors", tmp_path / "p.parquet"
    cli("train", path, "--target", target, *FEW, "--out", saved)
    assert cli("predict", saved, path, "--out", out).code == 0
    table = pq.read_table(out)
    assert table.column_names == ["row", "price"]
    printed = list(csv.reader(io.StringIO(cli("predict", saved, path).out)))
    assert printed[0] == ["row", "price"]
    np.testing.assert_allclose(table["price"].to_numpy(), np.array([row[1] for row in printed[1:]], float), rtol=1e-6)

    class Piped:
        buffer = io.BytesIO(path.read_bytes())

    monkeypatch.setattr(sys, "stdin", Piped())
    assert list(csv.reader(io.StringIO(cli("predict", saved, "-").out))) == printed
    assert "rmse " in cli("predict", saved, path, "--evaluate").err


def test_scores_require_the_target_column(cli: Any, mistake: Any, tmp_path: Path) -> None:
    path, target = samples.adult(tmp_path, 200)
    saved, bare = tmp_path / "m.safetensors", tmp_path / "bare.csv"
    pd.read_csv(path, skipinitialspace=True).drop(columns=[target]).to_csv(bare, index=False)
    assert cli("train", path, "--target", target, "--out", saved, *FEW).code == 0
    assert cli("predict", saved, bare).code == 0
    for asked in ("--evaluate", ("--metrics", "f1")):
        said = mistake("predict", saved, bare, *([asked] if isinstance(asked, str) else asked))
        assert f"scores require the target, but {bare} has no column 'income', which the model predicts" in said
        assert "without --evaluate and --metrics there are predictions alone" in said
    for evaluate in ((), ("--evaluate",)):
        assert "unknown target column of" in mistake("predict", saved, path, "--target", "nope", *evaluate)
        said = mistake("predict", saved, path, "--target", "age", *evaluate)
        assert "the target would be the column 'age', which the model takes as an input" in said
        assert "unknown target column" in mistake("predict", saved, path, "--target", "", *evaluate)
    assert cli("predict", saved, path, "--target", target).code == 0
    iris, named = tmp_path / "iris.safetensors", tmp_path / "iris.csv"
    assert cli("train", "iris", "--out", iris, *FEW).code == 0
    pd.DataFrame(datasets.load_iris().data, columns=datasets.load_iris().feature_names).to_csv(named, index=False)
    assert cli("predict", iris, named).code == 0
    assert "the target would be the column 'petal width (cm)'" in mistake("predict", iris, named, "--metrics", "f1")


def test_limit_on_rows_is_reported(cli: Any, tmp_path: Path) -> None:
    path, target = samples.adult(tmp_path, 200)
    saved = tmp_path / "m.safetensors"
    assert cli("train", path, "--target", target, "--out", saved, *FEW).code == 0
    ended = cli("predict", saved, path, "--limit", "3")
    assert len(ended.out.splitlines()) == 4
    assert ended.err == "bpengine: predicted: the first 3 of 200 rows (--limit)\n"
    assert cli("predict", saved, path, "--limit", "200").err == ""
    scored = cli("predict", saved, path, "--limit", "3", "--evaluate").err
    assert scored.startswith("bpengine: predicted and scored: the first 3 of 200 rows (--limit)\nloss with penalty ")
    assert "(--limit)" not in cli("predict", saved, path, "--evaluate").err


@pytest.mark.parametrize(
    "option", ["--features", "--drop", "--categorical", "--target", "--loss", "--output-activation"]
)
def test_empty_column_name_is_refused(option: str, mistake: Any, tmp_path: Path) -> None:
    path, _ = samples.adult(tmp_path, 60)
    said = mistake("train", path, option, "", *FEW)
    assert option in said or "unknown" in said


def test_probabilities_may_be_left_out(cli: Any, tmp_path: Path) -> None:
    path, target = samples.penguins(tmp_path, 100)
    saved = tmp_path / "m.safetensors"
    cli("train", path, "--target", target, *FEW, "--out", saved)
    head, *rows = csv.reader(io.StringIO(cli("predict", saved, path, "--no-probabilities").out))
    assert head == ["row", "class"]
    assert {row[1] for row in rows} <= {"Adelie", "Chinstrap", "Gentoo"}


def test_options_of_text_files_and_archive_keys_are_used_and_checked(cli: Any, mistake: Any, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("note\na_b;é\n'1';x\n'2';y\n".encode("latin-1") * 1)
    args = (
        "--sep",
        ";",
        "--quotechar",
        "'",
        "--encoding",
        "latin-1",
        "--skiprows",
        "1",
        "--header",
        "0",
        "--test",
        "0",
    )
    assert trained(cli, tmp_path / "t.txt", *args, *FEW)["columns"][-1]["name"] == "é"
    np.savez(tmp_path / "t.npz", x_train=np.random.default_rng(0).normal(size=(40, 3)), y_train=np.arange(40) % 2)
    saved = tmp_path / "m.safetensors"
    assert trained(cli, tmp_path / "t.npz", "--keys", "x_train,y_train", *FEW, "--out", saved)["inputs"] == 3
    assert cli("predict", saved, tmp_path / "t.npz", "--keys", "x_train").code == 0
    assert "--keys names arrays of a .npz archive" in mistake("train", tmp_path / "t.txt", "--keys", "a,b")
    assert "--keys x,y" in mistake("train", tmp_path / "t.npz")


@pytest.mark.parametrize(
    "command", ["check", "compare", "explain", "explain --sweep 1.bias[0]=0,1", "explain --sensitivity"]
)
def test_every_command_that_reads_a_table_is_told_how_it_is_written(
    command: str, cli: Any, mistake: Any, tmp_path: Path
) -> None:
    lines = [f"1.00{i % 7},5|{i % 3}|{'xy'[i % 2]}|-1" for i in range(12)]
    path = tmp_path / "t.txt"
    path.write_bytes("\n".join(["of today", "a_b|c|k|é", *lines]).encode("latin-1"))
    options = ("--skiprows", "1", "--encoding", "latin-1", "--decimal", ",", "--thousands", ".", "--target", "k")
    small = ("--layers", "2", "--rows", "4", "--na-values", "-1,0")
    name, *more = command.split()
    ended = cli(name, path, *more, *options, *small, *(("--backends", "numpy,numpy") if name == "compare" else ()))
    assert ended.code == 0, ended.err
    assert "unknown option of data set 'iris': 'sep'" in mistake(name, "iris", *more, "--sep", ";")
    assert "--keys names arrays of a .npz archive" in mistake(name, path, *more, "--keys", "a,b")
    np.savez(tmp_path / "t.npz", inputs=np.eye(8), labels=np.arange(8) % 2)
    assert cli(name, tmp_path / "t.npz", *more, "--keys", "inputs,labels", "--layers", "2").code == 0


def test_convert_and_train_from_the_copy(cli: Any, mistake: Any, tmp_path: Path) -> None:
    path, target = samples.housing(tmp_path, 300)
    ended = cli("convert", path, tmp_path / "kept")
    assert " ".join(ended.out.split()) == f"written: {tmp_path / 'kept'}: 300 rows x 6 columns"
    assert "exists already" in mistake("convert", path, tmp_path / "kept")
    one, other = (trained(cli, source, "--target", target, *FEW) for source in (path, tmp_path / "kept"))
    assert one["scores"] == other["scores"]


def test_models_of_tables_are_checked_and_explained(cli: Any, tmp_path: Path) -> None:
    path, target = samples.penguins(tmp_path, 100)
    saved = tmp_path / "m.safetensors"
    cli("train", path, "--target", target, *FEW, "--out", saved)
    assert cli("check", saved, path, "--target", target, "--rows", "8").code == 0
    assert cli("check", path, "--target", target, "--rows", "8", "--layers", "3").code == 0
    page = tmp_path / "p.html"
    assert cli("explain", saved, path, "--target", target, "--rows", "4", "--steps", "1", "--html", page).code == 0
    assert "island = Dream" in page.read_text(encoding="utf-8")


SEEDS, FOLDS, SMALL = 5, 5, 600  # a fifth of larger tables is rows enough for a score


def no_worse(compared: dict[str, Any]) -> bool:
    """Return whether a median is at most 0.01 below that of the better peer; classes: in whole rows."""
    own, other = (compared["median"][who] for who in (OWN, compared["better_peer"]))
    rows = compared["held_out_rows"]
    allowed = math.ceil(0.01 * rows) / rows if compared["measure"] == "accuracy" else 0.01
    return bool(own >= other - allowed - np.finfo(float).eps)


@pytest.mark.thorough(keep=0)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*samples.SCIKIT, *(f.__name__ for f in samples.MIXED)])
def test_held_out_scores_are_those_of_scikit_learn(name: str, tmp_path: Path) -> None:
    path, _ = samples.scikit(name, tmp_path) if name in samples.SCIKIT else getattr(samples, name)(tmp_path)
    small = len(peers.frame_of(path)) < SMALL
    assert no_worse(tables_scores.compared(name, SEEDS, tmp_path, FOLDS if small else None))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["penguins", "european"])
def test_the_held_out_score_that_is_stated_is_that_of_scikit_learn(name: str, tmp_path: Path) -> None:
    assert no_worse(tables_scores.compared(name, 3, tmp_path))


@pytest.mark.filterwarnings("ignore")
def test_in_folds_every_row_is_predicted_once_by_networks_that_have_not_seen_it(tmp_path: Path) -> None:
    path, target = samples.scikit("iris", tmp_path)
    frame = pd.read_csv(path)
    folds = list(table_contenders.fold_rows(frame[[target]], FOLDS, 0, classes=True))
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(150))
    for train, held_out in folds:
        assert sorted([*train, *held_out]) == list(range(150))
        assert frame[target].iloc[held_out].value_counts().tolist() == [10, 10, 10]
    report, said = table_contenders.own_predictions(path, target, 0, folds[1], tmp_path)
    assert (report["rows"], report["held_out_rows"], len(said)) == (120, 0, 30)
    for name, rows in zip(("train", "test"), folds[1], strict=True):
        pd.testing.assert_frame_equal(
            pd.read_csv(tmp_path / f"{name}-iris.csv"), frame.iloc[rows].reset_index(drop=True)
        )
    run = table_contenders.cross_validated(path, target, 0, tmp_path, 2)
    assert (run.held_out_rows, run.report["rows"]) == (150, 75)
    assert min(run.scores.values()) > 0.9
