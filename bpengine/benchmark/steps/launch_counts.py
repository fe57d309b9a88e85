"""Kernels and launches of a step on a GPU, counted after all turns, since a profiler slows what follows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpengine.benchmark.contenders import in_place
from bpengine.benchmark.processes.process import Process, WorkerFailed
from bpengine.benchmark.workloads import Workload

WARM = 2.0  # seconds of training after which a contender that compiles while it trains has compiled


def count_launches(
    processes: dict[str, Process], workload: Workload, folder: str, say: Callable[[str], None]
) -> dict[str, dict[str, Any] | None]:
    """Return the counts of each contender (see `Worker.launches`), in the processes of the turns, with the sample in `folder`.

    None where the profiler cannot count, or the contender fails.
    """
    counts: dict[str, dict[str, Any] | None] = {}
    for number, (name, process) in enumerate(processes.items(), 1):
        say(in_place("launches", process.contender.title, number, len(processes)))
        try:
            process.ask(do="load", workload=workload.to_dict(), folder=folder)
            counts[name] = process.ask(do="launches", warm=WARM if process.contender.lazy else 0.0)["launches"]
        except WorkerFailed:  # it has its times, and they stand
            counts[name] = None
    return counts
