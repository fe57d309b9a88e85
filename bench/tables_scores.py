"""How well `bpengine train FILE --target T` predicts beside MLPClassifier and MLPRegressor of scikit-learn, on eleven tables.

python -m bench.tables_scores [--seeds 25] [--sets iris,adult] > FILE.json, in the root of a clone. Six sets of
scikit-learn and five mixed samples (tests/tables/samples.py) are written as CSV files. For each seed the command trains
with no other option (`--seed`, `--json` and `--out` apart); scikit-learn's network of the same sizes trains on the same
rows, behind StandardScaler and OneHotEncoder, with its own defaults but for `max_iter=2000`, and both are scored on the
rows that the command held out: the share of right classes, or R2. Values are also predicted by a second peer, whose
targets are standardised as the command standardises them; the command is compared with the better median of the two.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import platform
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.cli import main as command
from bpengine.system import hardware
from tests.tables import peers, samples

NAMES = (*samples.SCIKIT, *(sample.__name__ for sample in samples.MIXED))
ALLOWED = 0.01  # lower score that still counts as the same
ASKED = 5  # seeds whose median is compared


def report_of(path: Path, target: str, seed: int, model: Path) -> dict[str, Any]:
    """Run the command in this process and return what it printed."""
    arguments = ["train", str(path), "--target", target, "--seed", str(seed), "--json", "--out", str(model), "--force"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command(arguments)
    if code != 0:
        raise SystemExit(err.getvalue())
    report: dict[str, Any] = json.loads(out.getvalue())
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


def one_run(
    path: Path, target: str, seed: int, model: Path
) -> tuple[dict[str, Any], dict[str, float], dict[str, float]]:
    """Return the command's report, the scores by contender, and their CPU seconds."""
    began = time.process_time()
    report = report_of(path, target, seed, model)
    seconds = {"bpengine": time.process_time() - began}
    frame, targets = peers.frame_of(path), target.split(",")
    data = bp.data.load(str(path), target=targets if len(targets) > 1 else target)
    train, test = split_of(data, seed)
    x, y = frame.drop(columns=targets), frame[targets].squeeze(axis=1)
    classes = report["task"] == "classification"
    scores = {"bpengine": own_score(report, bp.load(model), data.table[test], y.iloc[test])}
    ways = {"scikit-learn": False} | ({} if classes else {"scikit-learn, scaled targets": True})
    for name, scaled in ways.items():
        began = time.process_time()
        network = peers.peer(x.iloc[train], classes=classes, seed=seed, scaled=scaled).fit(x.iloc[train], y.iloc[train])
        seconds[name] = time.process_time() - began
        scores[name] = peers.score(y.iloc[test], network.predict(x.iloc[test]), classes=classes)
    return report, scores, seconds


def compared(name: str, seeds: int, folder: Path) -> dict[str, Any]:
    """Return the scores of a set over seeds, their medians, and the difference to the better peer."""
    path, target = samples.scikit(name, folder) if name in samples.SCIKIT else getattr(samples, name)(folder)
    runs = [one_run(path, target, seed, folder / "model.safetensors") for seed in range(seeds)]
    scores = {who: [run[1][who] for run in runs] for who in runs[0][1]}
    medians = {who: statistics.median(own[:ASKED]) for who, own in scores.items()}
    best = max((who for who in medians if who != "bpengine"), key=lambda who: medians[who])
    differences = np.array(scores["bpengine"]) - np.array(scores[best])
    report = runs[0][0]
    return {
        "measure": "accuracy" if report["task"] == "classification" else "r2",
        "rows": report["rows"],
        "held_out_rows": report["held_out_rows"],
        "epochs": report["epochs"],
        "steps": report["steps"],
        "median": medians,  # of the first seeds
        "within": medians["bpengine"] >= medians[best] - ALLOWED,
        "better_peer": best,
        "mean": {who: statistics.mean(own) for who, own in scores.items()},
        "mean_difference": float(differences.mean()),
        "standard_error": float(differences.std(ddof=1) / math.sqrt(seeds)),
        "median_cpu_seconds": {who: statistics.median(run[2][who] for run in runs) for who in scores},
        "scores": scores,
    }


def line(name: str, row: dict[str, Any]) -> str:
    """Return a set as a line of a Markdown table."""
    medians, mean, seconds = row["median"], row["mean"], row["median_cpu_seconds"]
    best = row["better_peer"]
    cells = [
        name, row["measure"], f"{row['rows']:,} + {row['held_out_rows']:,}", f"{medians['bpengine']:.4f}",
        f"{medians[best]:.4f}", f"{mean['bpengine']:.4f}", f"{mean[best]:.4f}",
        f"{row['mean_difference']:+.4f} ± {row['standard_error']:.4f}",
        f"{seconds['bpengine']:.2f}", f"{seconds[best]:.2f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, print a table on stderr and JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=ASKED)
    parser.add_argument("--sets", default=",".join(NAMES))
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.sets.split(","):
            rows[name] = compared(name, chosen.seeds, Path(folder))
            print(line(name, rows[name]), file=sys.stderr, flush=True)
    about = {
        "date": time.strftime("%Y-%m-%d"), "cpu": hardware.cpu(), "system": platform.platform(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("numpy", "pandas", "scikit-learn")},
        "command": f"python -m bench.tables_scores --seeds {chosen.seeds}", "seeds": chosen.seeds, "allowed": ALLOWED,
    }  # fmt: skip
    print(json.dumps(about | {"sets": rows}, indent=1))


if __name__ == "__main__":
    main()
