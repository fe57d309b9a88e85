"""Whole fits in the record of a run, as JSON values. A separate file, as their report and their figures have: `fit_report`."""

from __future__ import annotations

import statistics
from typing import Any

from bpengine.benchmark.contender_results import speed_ratio
from bpengine.benchmark.fits.fit_results import FitResult, FitTrial

Record = dict[str, Any]


def fit_work(trial: FitTrial) -> Record:
    """Return one workload of whole fits; the reference is the fastest valid peer."""
    work, wrong = trial.workload, trial.disagreements()
    peers = {n: r for n, r in trial.results.items() if not r.own and n not in wrong}
    yardstick = min(peers, key=lambda name: statistics.median(peers[name].seconds), default=None)
    return {
        **work.to_dict(),
        "steps": work.steps,
        "yardstick": yardstick,
        "results": {
            name: {
                **_result(result),
                "valid": name not in wrong,
                "why_not": wrong.get(name),
                "times_yardstick": speed_ratio(result, peers[yardstick]) if yardstick else None,
            }
            for name, result in trial.results.items()
        },
        "failures": trial.failures,
    }


def _result(result: FitResult) -> Record:
    middle = statistics.median(result.seconds)
    later = [seconds for pieces in result.fit_seconds for seconds in pieces[1:] or pieces]
    return {
        "own": result.own,
        "seconds": result.seconds,
        "median_seconds": middle,
        "cpu_seconds": result.cpu_seconds,
        "median_cpu_seconds": statistics.median(result.cpu_seconds),
        "fit_seconds": result.fit_seconds,
        "first_fit": statistics.median(pieces[0] for pieces in result.fit_seconds),
        "later_fit": statistics.median(later),
        "fits_together": statistics.median(result.sums()),
        "loss": result.loss,
        "accuracy": result.accuracy,
        "spread": result.spread,
    }
