"""Results of whole fits: seconds of each turn and of each call, losses; and the measurements of one workload together."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from bpengine.benchmark.contender_results import ContenderResult, disagreements
from bpengine.benchmark.fits.fit_files import Judgement
from bpengine.benchmark.fits.fit_process import FitTimes
from bpengine.benchmark.fits.fit_workloads import FitWorkload

FIRST_CALLS = 2  # first calls of a fit, which are not counted: they include work that is done once, such as compiling


@dataclass(kw_only=True)
class FitResult(ContenderResult):
    """One entrant on one workload; `seconds` are those that the workload compares: of the process, or of the median call.

    cpu_seconds: those of the process up to its last step, of all threads. fit_seconds: of all fits of a turn, one by one; of
    all calls, where the one fit of a workload is called several times. accuracy: on held-out rows, None without any.
    own: the engine.
    """

    cpu_seconds: list[float] = field(default_factory=list)
    fit_seconds: list[list[float]] = field(default_factory=list)
    accuracy: float | None = None
    own: bool = False

    def add_fit(self, work: FitWorkload, times: FitTimes, judged: Judgement) -> None:
        """Add a turn."""
        pieces = times.calls[0] if work.by_calls else [sum(calls) for calls in times.calls]
        counted = statistics.median(pieces[FIRST_CALLS:] or pieces) if work.by_calls else times.process
        self.add(
            work.steps * work.calls,
            {"seconds": counted, "loss": judged.loss, "resident": None, "idle_cpu_seconds": 0.0},
        )
        self.cpu_seconds.append(times.cpu)
        self.fit_seconds.append(pieces)
        self.accuracy = judged.accuracy

    def sums(self, start: int = 0) -> list[float]:
        """Return, for each turn, the seconds of its fits together, without the first `start`."""
        return [sum(pieces[start:]) for pieces in self.fit_seconds]


@dataclass(kw_only=True)
class FitTrial:
    """One workload of whole fits: each entrant's result, and reasons of failures; about: versions and notes by contender.

    rounding: how far apart the losses of equal fits may be, relative to the loss, where that was measured; else 0.
    """

    workload: FitWorkload
    results: dict[str, FitResult]
    failures: dict[str, str]
    about: dict[str, dict[str, object]]
    rounding: float = 0.0

    def disagreements(self) -> dict[str, str]:
        """Return the entrants whose loss differs from that of the others by more than rounding."""
        return disagreements(list(self.results.values()), "float32", self.rounding)

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict per entrant: seconds, CPU seconds, loss, and what is wrong."""
        wrong = self.disagreements()
        measured = [
            {
                "workload": self.workload.name,
                "contender": name,
                "seconds": statistics.median(result.seconds),
                "cpu_seconds": statistics.median(result.cpu_seconds),
                "loss": result.loss,
                "problem": wrong.get(name),
            }
            for name, result in self.results.items()
        ]
        empty = {"seconds": None, "cpu_seconds": None, "loss": None}
        failed = [
            {"workload": self.workload.name, "contender": name, **empty, "problem": why}
            for name, why in self.failures.items()
        ]
        return measured + failed
