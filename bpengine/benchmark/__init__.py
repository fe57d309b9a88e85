"""The benchmark house: the engine and its peers, side by side, each in a process of its own, and the machine's limits.

`run` takes workloads and the names of contenders and returns a record that JSON can hold; `bpengine bench` is its face.
"""

from __future__ import annotations

from bpengine.benchmark.contenders import CONTENDERS, PRECISIONS, Contender, choose
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
    "Contender",
    "Plan",
    "Workload",
    "choose",
    "run",
]
