"""`bpengine train --seeds`: the same network by several seeds, their scores side by side, and the models that are kept."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.cli.commands.train import several_seeds
from bpengine.errors import NonFiniteError
from bpengine.model import Model

SMALL = ("iris", "--layers", "5", "--epochs", "4")


def trained(cli: Any, *args: object) -> dict[str, Any]:
    ended = cli("train", *args, "--json")
    assert (ended.code, ended.err) == (0, "")
    report: dict[str, Any] = json.loads(ended.out)
    return report


def parameters(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return bp.load(path).parameters


def same(a: Path, b: Path) -> bool:
    first, second = parameters(a), parameters(b)
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_each_model_is_that_of_its_seed_alone_and_the_best_is_kept(cli: Any, tmp_path: Path) -> None:
    """By --seed 0 the rows are split as here, so that its model is the same to the last bit."""
    best, alone = tmp_path / "best.safetensors", tmp_path / "alone.safetensors"
    report = trained(cli, *SMALL, "--seeds", "3,0", "--out", best, "--out-each", tmp_path / "each")
    trained(cli, *SMALL, "--seed", "0", "--threads", "1", "--out", alone)
    rows = {row["seed"]: row for row in report["seeds"]}
    files = {seed: tmp_path / "each" / f"seed-{seed}.safetensors" for seed in (3, 0)}
    assert [*rows] == [3, 0]
    assert {seed: row["saved"] for seed, row in rows.items()} == {seed: str(file) for seed, file in files.items()}
    assert same(files[0], alone)
    assert not same(files[3], alone)
    assert report["best_seed"] == min(rows, key=lambda seed: rows[seed]["score"])
    assert same(best, files[report["best_seed"]])
    assert report["scores"] == rows[report["best_seed"]]["scores_by_part"]["test"]
    assert (report["best_by"], report["saved"]) == ({"score": "loss", "rows": "training"}, str(best))


def test_mean_and_spread_are_those_of_the_rows_held_out(cli: Any) -> None:
    report = trained(cli, *SMALL, "--seeds", "4", "--metrics", "f1_macro")
    for name in ("loss", "accuracy", "f1_macro"):
        scores = [row["scores_by_part"]["test"][name] for row in report["seeds"]]
        assert report["mean"][name] == pytest.approx(statistics.fmean(scores))
        assert report["spread"][name] == pytest.approx(statistics.stdev(scores))
    assert [row["seed"] for row in report["seeds"]] == [0, 1, 2, 3]
    assert len({row["score"] for row in report["seeds"]}) == 4


@pytest.mark.parametrize(("monitor", "best"), [((), min), (("--monitor", "accuracy"), max)], ids=["loss", "accuracy"])
def test_validation_rows_choose_the_best(cli: Any, monitor: tuple[str, ...], best: Callable[..., Any]) -> None:
    """And never those that are held out to test."""
    report = trained(cli, *SMALL, "--seeds", "5", "--validation", "0.2", *monitor)
    name = monitor[1] if monitor else "loss"
    scores = {row["seed"]: row["scores_by_part"]["validation"][name] for row in report["seeds"]}
    assert report["best_by"] == {"score": name, "rows": "validation"}
    assert scores[report["best_seed"]] == best(scores.values())
    assert [row["score"] for row in report["seeds"]] == pytest.approx([*scores.values()])


def test_each_seed_stops_by_itself(cli: Any) -> None:
    line = (
        "iris",
        "--layers",
        "5",
        "--epochs",
        "300",
        "--learning-rate",
        "0.05",
        "--early-stopping",
        "3",
        "--seeds",
        "3",
    )
    report = json.loads(cli("train", *line, "--json").out)  # stderr has lines of progress on a slow machine
    assert len({row["epochs"] for row in report["seeds"]}) > 1
    assert all(row["stopped_by"] == "no improvement on validation data for 3 epochs" for row in report["seeds"])
    assert report["epochs"] == next(r["epochs"] for r in report["seeds"] if r["seed"] == report["best_seed"])


def test_several_seeds_print_a_table_with_mean_and_spread(cli: Any, tmp_path: Path) -> None:
    report = trained(cli, *SMALL, "--seeds", "2")
    ended = cli("train", *SMALL, "--seeds", "2", "--out-each", tmp_path / "each", "--figure", tmp_path / "loss.svg")
    lines = [line.split() for line in ended.out.splitlines()]
    start = next(i for i, line in enumerate(lines) if line[:5] == ["Scores", "of", "the", "test", "rows,"])
    head, _, *rows = lines[start + 1 : start + 7]
    assert head == ["seed", "epochs", "loss", "with", "penalty", "accuracy", "chosen", "by"]
    assert [row[0] for row in rows] == ["0", "1", "mean", "spread"]
    assert [row[-2] for row in rows[:2]] == [f"{r['scores_by_part']['test']['accuracy']:.4f}" for r in report["seeds"]]
    assert rows[2][-2:] == [
        f"{report['mean']['accuracy']:.4f}",
        f"{statistics.fmean(r['score'] for r in report['seeds']):.6g}",
    ]
    assert f"Chosen: seed {report['best_seed']}, which has the lowest loss of the training rows." in ended.out
    assert f"The model of each seed is saved in {tmp_path / 'each'}." in ended.out
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == ["seed-0.safetensors", "seed-1.safetensors"]
    assert "stopped after" in (tmp_path / "loss.svg").read_text(encoding="utf-8")


def failing(monkeypatch: pytest.MonkeyPatch, *seeds: int) -> None:
    """Let the fits of these seeds end with numbers that are not finite."""
    train = Model._train

    def run(model: Model, *args: Any) -> bp.History:
        if model.seed in seeds:
            raise NonFiniteError("training requires a finite loss, got inf.")
        return train(model, *args)

    monkeypatch.setattr(Model, "_train", run)


def test_a_seed_that_fails_is_left_out(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing(monkeypatch, 1)
    report = trained(cli, *SMALL, "--seeds", "3", "--out-each", tmp_path)
    lost = report["seeds"][1]
    assert (lost["seed"], lost["score"], lost["scores_by_part"], lost["saved"]) == (1, None, {}, None)
    assert "finite loss" in lost["error"]
    scores = [row["scores_by_part"]["test"]["accuracy"] for row in report["seeds"] if not row["error"]]
    assert report["mean"]["accuracy"] == pytest.approx(statistics.fmean(scores))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed-0.safetensors", "seed-2.safetensors"]
    ended = cli("train", *SMALL, "--seeds", "3")
    assert "Seed 1 failed: training requires a finite loss, got inf." in ended.out
    assert ["1", "0", "-", "-", "-"] in [line.split() for line in ended.out.splitlines()]


def test_seeds_that_all_fail_are_a_mistake(mistake: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing(monkeypatch, 0, 1)
    said = mistake("train", *SMALL, "--seeds", "2", "--out", tmp_path / "best.safetensors")
    assert "the best of 2 fits requires one that did not fail, got none. training requires a finite loss" in said
    assert not [*tmp_path.iterdir()]


def test_an_interruption_keeps_what_is_whole(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(*args: Any, **settings: Any) -> bp.ManyFits:
        many = fit_many(*args, **settings)
        last = replace(many[-1], history=replace(many[-1].history, stopped_by="interrupted"))
        return replace(many, fits=(*many[:-1], last))

    fit_many = bp.fit_many
    monkeypatch.setattr(several_seeds.bp, "fit_many", stopped)
    ended = cli("train", *SMALL, "--seeds", "3", "--out-each", tmp_path / "each")
    assert (ended.code, ended.out) == (130, "")
    assert "interrupted after 2 of 3 seeds; what was asked for is saved of these." in ended.err
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == ["seed-0.safetensors", "seed-1.safetensors"]
    ended = cli("train", *SMALL, "--seeds", "1", "--out", tmp_path / "best.safetensors")
    assert (ended.code, "interrupted after 0 of 1 seed; nothing was saved." in ended.err) == (130, True)
    assert not (tmp_path / "best.safetensors").exists()


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bp, "fit_many", lambda *_, **__: pytest.fail("trained before the check"))
    monkeypatch.setattr(bp.data, "load", lambda *_, **__: pytest.fail("loaded before the check"))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("args", "text"),
    [
        (
            ["--seeds", "a"],
            "--seeds requires a number of seeds, such as 5, or seeds separated by commas, such as 3,7, got 'a'",
        ),
        (["--seeds", "3,"], "such as 3,7, got '3,'"),
        (["--seeds", ""], "such as 3,7, got ''"),
        (["--seeds", "0"], "--seeds requires from 1 to 1,000 seeds, got 0."),
        (["--seeds", "1001"], "--seeds requires from 1 to 1,000 seeds, got 1001."),
        (["--seeds", "1,-2"], "--seeds requires seeds of at least 0, got -2."),
        (["--seeds", "1,2,1"], "--seeds requires each seed once, got '1,2,1'"),
        (["--seeds", "9" * 20], "--seeds requires whole numbers of at most 18 digits"),
        (["--out-each", "models"], "--out-each FOLDER requires --seeds, got none."),
        (["--seeds", "2", "--monitor", "f1"], "with --seeds, --validation is enough."),
        *(
            (["--seeds", "2", *option], f"--seeds takes no {option[0]}, which belongs to a single fit.")
            for option in (
                ["--checkpoint", "run"],
                ["--log", "run"],
                ["--tensorboard", "runs"],
                ["--shards", "4"],
            )
        ),
    ],
)
def test_invalid_options_of_several_seeds_are_refused(
    mistake: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, args: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert text in mistake("train", "iris", *args)
    assert not [*tmp_path.iterdir()]


@pytest.mark.usefixtures("no_work")
def test_files_are_checked_before_training(mistake: Any, tmp_path: Path) -> None:
    folder = tmp_path / "each"
    folder.mkdir()
    file = folder / "seed-1.safetensors"
    file.write_text("precious")
    line = ("train", "iris", "--seeds", "2")
    assert "exists already. Choose another --out-each, or pass --force" in mistake(*line, "--out-each", folder)
    assert "requires a folder" in mistake(*line, "--out-each", file)
    twice = ("--out-each", folder, "--out", file, "--force")
    assert "--out-each and --out require different files" in mistake(*line, *twice)
    assert file.read_text() == "precious"
