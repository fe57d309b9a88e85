"""The benchmark: the engine and its peers side by side, each in a separate process, and the limits of the machine.

`run` takes a plan of workloads and contenders and returns measurements; record turns them into JSON, report into
tables, figure into a picture. `bpengine bench` is the command for it. Names are loaded on first use: a process that is
timed from its start must not load modules that only the timing process needs.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing is loaded with the first name that needs it
if TYPE_CHECKING:
    from bpengine.benchmark.contenders import CONTENDERS, PRECISIONS, Contender, choose
    from bpengine.benchmark.fits.fit_workloads import FITS, FitWorkload
    from bpengine.benchmark.measurements import RunMeasurements
    from bpengine.benchmark.results.report import BenchmarkTables
    from bpengine.benchmark.runner import Plan, run
    from bpengine.benchmark.workloads import DEFAULT, GROUPS, MAIN, SUITES, WORKLOADS, Workload

_FILES = {
    "contenders": (
        "CONTENDERS",
        "PRECISIONS",
        "Contender",
        "choose",
    ),
    "fits.fit_workloads": (
        "FITS",
        "FitWorkload",
    ),
    "measurements": ("RunMeasurements",),
    "results.report": ("BenchmarkTables",),
    "runner": (
        "Plan",
        "run",
    ),
    "workloads": (
        "DEFAULT",
        "GROUPS",
        "MAIN",
        "SUITES",
        "WORKLOADS",
        "Workload",
    ),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "CONTENDERS",
    "DEFAULT",
    "FITS",
    "GROUPS",
    "MAIN",
    "PRECISIONS",
    "SUITES",
    "WORKLOADS",
    "BenchmarkTables",
    "Contender",
    "FitWorkload",
    "Plan",
    "RunMeasurements",
    "Workload",
    "choose",
    "run",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _FILE_OF:
        raise AttributeError(f"module 'bpengine.benchmark' has no attribute {name!r}")
    value = getattr(import_module(f"bpengine.benchmark.{_FILE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
