"""The benchmark: the engine and its peers side by side, each in a process of its own, and the limits of the machine.

`run` takes a plan of workloads and contenders and returns measurements; record turns them into JSON, report into
tables, figure into a picture. `bpengine bench` is the command for it.
"""

from __future__ import annotations

from bpengine.benchmark.contenders import CONTENDERS, PRECISIONS, Contender, choose
from bpengine.benchmark.measurements import RunMeasurements
from bpengine.benchmark.results.report import BenchmarkTables
from bpengine.benchmark.runner import Plan, run
from bpengine.benchmark.workloads import DEFAULT, GROUPS, MAIN, SUITES, WORKLOADS, Workload

__all__ = [
    "CONTENDERS",
    "DEFAULT",
    "GROUPS",
    "MAIN",
    "PRECISIONS",
    "SUITES",
    "WORKLOADS",
    "BenchmarkTables",
    "Contender",
    "Plan",
    "RunMeasurements",
    "Workload",
    "choose",
    "run",
]
