"""The command and scikit-learn's networks on one table: trained on some of its rows, scored on the others.

`one_split` scores them on the fifth of the rows that the command holds out by itself; `cross_validated` on all rows, each
predicted by networks that were trained without its fold.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

import bpengine as bp
from bpengine.cli import main as command
from tests.tables import peers

OWN, PEER, SCALED = "bpengine", "scikit-learn", "scikit-learn, scaled targets"


class SeedRun(NamedTuple):
    """What one seed gave: the command's report of its first training, and scores and CPU seconds by contender."""

    report: dict[str, Any]
    held_out_rows: int
    scores: dict[str, float]
    seconds: dict[str, float]


def printed_by(*arguments: str) -> str:
    """Run the command in this process and return what it printed; raise SystemExit with its error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command(list(arguments))
    if code != 0:
        raise SystemExit(err.getvalue())
    return out.getvalue()


def report_of(path: Path, target: str, seed: int, model: Path, *more: str) -> dict[str, Any]:
    """Train with the command and return its report."""
    how = ("--target", target, "--seed", str(seed), "--json", "--out", str(model), "--force", *more)
    report: dict[str, Any] = json.loads(printed_by("train", str(path), *how))
    return report


def split_of(data: bp.data.Dataset, seed: int) -> tuple[Any, Any]:
    """Return the numbers of the rows that the command trains on, and of those that it holds out."""
    numbered = replace(data, x=np.arange(data.rows)[:, None], feature_names=("row",))
    train, test = numbered.split(0.2, seed=seed)
    return train.x[:, 0], test.x[:, 0]


def own_score(report: dict[str, Any], model: bp.Model, x: Any, truth: Any) -> float:
    """Return the command's score on rows; raise SystemExit where they are not those that it held out."""
    outputs = model.predict(x)
    if report["task"] == "regression":
        rmse = float(np.sqrt(np.mean((outputs - truth.to_numpy().reshape(outputs.shape)) ** 2)))
        if not math.isclose(rmse, report["scores"]["rmse"], rel_tol=1e-5):
            raise SystemExit("these are not the rows that the command held out")
        return peers.score(truth, outputs, classes=False)
    names = np.array([str(name) for name in model.class_names or ()])
    score = peers.score(truth, names[outputs.argmax(axis=1)], classes=True)
    if not math.isclose(score, report["scores"]["accuracy"]):
        raise SystemExit("these are not the rows that the command held out")
    return score


def one_split(path: Path, target: str, seed: int, folder: Path) -> SeedRun:
    """Score all contenders on the fifth of the rows that the command holds out."""
    model, began = folder / "model.safetensors", time.process_time()
    report = report_of(path, target, seed, model)
    seconds = {OWN: time.process_time() - began}
    frame, targets = peers.frame_of(path), target.split(",")
    data = bp.data.load(str(path), target=targets if len(targets) > 1 else target)
    train, test = split_of(data, seed)
    classes = report["task"] == "classification"
    scores = {OWN: own_score(report, bp.load(model), data.table[test], frame[targets].squeeze(axis=1).iloc[test])}
    for name in ways(classes=classes):
        began = time.process_time()
        said = peer_predictions(name, frame, targets, (train, test), seed)
        seconds[name] = time.process_time() - began
        scores[name] = peers.score(frame[targets].iloc[test], said, classes=classes)
    return SeedRun(report, len(test), scores, seconds)


def cross_validated(path: Path, target: str, seed: int, folder: Path, folds: int) -> SeedRun:
    """Score all contenders on all rows, each predicted by networks that were trained without its fold.

    The CPU seconds are those of all folds. A score is one score over all rows, not a mean over the folds.
    """
    frame, targets = peers.frame_of(path), target.split(",")
    classes = peers.is_classes(frame[targets])
    outputs = {name: np.empty((len(frame), len(targets)), object) for name in (OWN, *ways(classes=classes))}
    seconds: Counter[str] = Counter()
    reports = []
    for rows in fold_rows(frame[targets], folds, seed, classes=classes):
        for name, predicted in outputs.items():
            began = time.process_time()
            if name == OWN:
                report, said = own_predictions(path, target, seed, rows, folder)
                reports.append(report)
            else:
                said = peer_predictions(name, frame, targets, rows, seed)
            seconds[name] += time.process_time() - began
            predicted[rows[1]] = np.asarray(said, object).reshape(-1, len(targets))
    scores = {name: peers.score(frame[targets], said, classes=classes) for name, said in outputs.items()}
    return SeedRun(reports[0], len(frame), scores, dict(seconds))


def ways(*, classes: bool) -> tuple[str, ...]:
    """Return the names of the peers."""
    return (PEER,) if classes else (PEER, SCALED)


def fold_rows(y: Any, folds: int, seed: int, *, classes: bool) -> Iterator[tuple[Any, Any]]:
    """Yield the numbers of the rows to train on and of those held out, for each fold; every row is held out once."""
    if classes:
        yield from StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y.astype(str))
    else:
        yield from KFold(folds, shuffle=True, random_state=seed).split(y)


def own_predictions(path: Path, target: str, seed: int, rows: tuple[Any, Any], folder: Path) -> tuple[Any, Any]:
    """Train the command on a file of some rows; return its report, and what it predicts for a file of the others."""
    head, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    train, test = (folder / f"{name}-{path.name}" for name in ("train", "test"))
    for file, chosen in zip((train, test), rows, strict=True):
        file.write_text("".join([head, *(lines[row] for row in chosen)]), encoding="utf-8")
    model = folder / "model.safetensors"
    report = report_of(train, target, seed, model, "--test", "0")
    said = printed_by("predict", str(model), str(test), "--no-probabilities")
    return report, [row[1:] for row in csv.reader(io.StringIO(said))][1:]


def peer_predictions(name: str, frame: Any, targets: list[str], rows: tuple[Any, Any], seed: int) -> Any:
    """Train one of scikit-learn's networks on some rows and return what it predicts for the others."""
    x, y, (train, test) = frame.drop(columns=targets), frame[targets], rows
    network = peers.peer(x.iloc[train], classes=peers.is_classes(y), seed=seed, scaled=name == SCALED)
    return network.fit(x.iloc[train], y.iloc[train].squeeze(axis=1)).predict(x.iloc[test])
