"""How well `bpengine train FILE --target T` predicts beside MLPClassifier and MLPRegressor of scikit-learn, on eleven tables.

python -m bench.tables_scores [--seeds 25] [--folds 5] [--sets iris,adult] > FILE.json, in the root of a clone. Six sets of
scikit-learn and five mixed samples (tests/tables/samples.py) are written as CSV files. For each seed the command trains
with no other option (`--seed`, `--json` and `--out` apart); scikit-learn's network of the same sizes trains on the same
rows, behind StandardScaler and OneHotEncoder, with its own defaults but for `max_iter=2000`, and both are scored on the
rows that the command held out: the share of right classes, or R2. Values are also predicted by a second peer, whose
targets are standardised as the command standardises them; the command is compared with the better median of the two.

A fifth of a small table is few rows: one row of wine is 0.028 of its score. With `--folds` every row is held out once for
each seed. The folds are those of StratifiedKFold for classes, of KFold for values, shuffled by the seed, and the same for all.
For each the command trains on a file of the other rows (with `--test 0`), from which alone it learns its columns, and predicts
a file of the fold's rows; a seed's score is one score over all rows.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.table_contenders import OWN, cross_validated, one_split
from bpengine.system import hardware
from tests.tables import samples

NAMES = (*samples.SCIKIT, *(sample.__name__ for sample in samples.MIXED))
ALLOWED = 0.01  # lower score that still counts as the same
ASKED = 5  # seeds whose median is compared


def compared(name: str, seeds: int, folder: Path, folds: int | None = None) -> dict[str, Any]:
    """Return the scores of a set over seeds, their medians, and the difference to the better peer.

    folds: into which all rows are divided; None for the fifth of the rows that the command holds out.
    """
    path, target = samples.scikit(name, folder) if name in samples.SCIKIT else getattr(samples, name)(folder)
    runs = [
        one_split(path, target, seed, folder) if folds is None else cross_validated(path, target, seed, folder, folds)
        for seed in range(seeds)
    ]
    scores = {who: [run.scores[who] for run in runs] for who in runs[0].scores}
    medians = {who: statistics.median(own[:ASKED]) for who, own in scores.items()}
    best = max((who for who in medians if who != OWN), key=lambda who: medians[who])
    differences = np.array(scores[OWN]) - np.array(scores[best])
    report = runs[0].report
    return {
        "measure": "accuracy" if report["task"] == "classification" else "r2",
        "rows": report["rows"],
        "held_out_rows": runs[0].held_out_rows,
        "epochs": report["epochs"],
        "steps": report["steps"],
        "median": medians,  # of the first seeds
        "within": medians[OWN] >= medians[best] - ALLOWED,
        "better_peer": best,
        "mean": {who: statistics.mean(own) for who, own in scores.items()},
        "mean_difference": float(differences.mean()),
        "standard_error": float(differences.std(ddof=1) / math.sqrt(seeds)),
        "median_cpu_seconds": {who: statistics.median(run.seconds[who] for run in runs) for who in scores},
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
    parser.add_argument("--folds", type=int)
    parser.add_argument("--sets", default=",".join(NAMES))
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.sets.split(","):
            rows[name] = compared(name, chosen.seeds, Path(folder), chosen.folds)
            print(line(name, rows[name]), file=sys.stderr, flush=True)
    about = {
        "date": time.strftime("%Y-%m-%d"), "cpu": hardware.cpu(), "system": platform.platform(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("numpy", "pandas", "scikit-learn")},
        "command": " ".join(["python -m bench.tables_scores", *sys.argv[1:]]), "seeds": chosen.seeds, "folds": chosen.folds,
        "allowed": ALLOWED,
    }  # fmt: skip
    print(json.dumps(about | {"sets": rows}, indent=1))


if __name__ == "__main__":
    main()
