"""The engine's exchange, and steps of training, between 1 to 4 processes over TCP on shaped links.

    sudo .venv/bin/python -m bench.scaling.measure [--out bench/results/DATE-CPU-exchange.json]

Needs root, Linux, iproute2 and MPICH; takes about five minutes. Two cores are not enough for 3 or 4 processes: links are so
slow that the processes wait for bytes nearly all the time. Each job has a limit, and ends with all that it started.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.scaling.links import BURST, INSIDE, LIMIT, PAYLOAD, RATE
from bpengine.system import blas, hardware, mpi_library

ROOT = Path(__file__).parents[2]
SMALL, LARGE = ("64", "1024", "4096", "16384"), ("262144", "1048576", "4194304", "16777216")
BATCH = "2048"  # rows of a step on all processes together
ALONE = ("256", "512", "1024", "2048")  # rows of steps of one process
PIECES = {"MPIR_CVAR_ALLGATHERV_PIPELINE_MSG_SIZE": str(2**15)}  # MPICH's own setting, which bpengine changes to 0
PACKAGES = ("bpengine", "numpy", "mpi4py")


@dataclass(frozen=True)
class Plan:
    """A job to run: the network, what to do on it, on how many processes, with which numbers.

    whole: MPICH's Allgatherv, which goes round the processes in pieces of 32 KB, sends whole slices.
    """

    network: str
    work: str
    processes: int
    numbers: tuple[str, ...]
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.work} on {self.network}, {self.processes} processes"

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says of it."""
        shards = int(self.numbers[0]) if self.work == "exchange" else self.processes
        names = ("network", "work", "processes", "whole")
        return {**{name: getattr(self, name) for name in names}, "shards": shards}


def plans() -> Iterator[Plan]:
    """Yield all jobs."""
    yield Plan("unshaped", "exchange", 2, ("2", *SMALL))
    for network in PAYLOAD:
        for count in (2, 3, 4):
            yield Plan(network, "exchange", count, (str(count), *LARGE), whole=True)
    yield Plan("nodes", "exchange", 3, ("16", *LARGE[:-1]), whole=True)  # several roots: 16 is no multiple of 3
    for network in PAYLOAD:
        yield Plan(network, "exchange", 3, ("3", *LARGE[:-1]))
    yield Plan("unshaped", "products", 1, ALONE)
    for count in (2, 3, 4):
        yield Plan("loopback", "steps", count, (BATCH,), whole=True)


def job(plan: Plan) -> dict[str, Any]:
    """Run a job in namespaces of its own; return what its first process prints, and what ran."""
    call = [*INSIDE, sys.executable, "-m", "bench.scaling.links", plan.network, str(plan.processes), plan.work]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "backends")))
    load = os.getloadavg()[0]
    done = subprocess.run(
        [*call, *plan.numbers], env={**os.environ, "PYTHONPATH": path, **({} if plan.whole else PIECES)}, cwd=ROOT,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=LIMIT + 30,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{plan} ended with {done.returncode}: {done.stdout}")
    return {**plan.facts, "load_before": load, **json.loads(done.stdout.splitlines()[-1])}


def record(tiny: bool = False) -> dict[str, Any]:
    """Measure everything, or the first numbers alone; return the record."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    jobs, library = [], blas.library()
    for plan in plans():
        print(plan, file=sys.stderr, flush=True)
        jobs.append(job(replace(plan, numbers=plan.numbers[:2]) if tiny else plan))
    return {
        "date": now, "command": "python -m bench.scaling.measure", "cpu": hardware.cpu(), "system": platform.platform(),
        "python": platform.python_version(), "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "mpi": mpi_library.facts()["library"], "blas": {name: library[name] for name in ("name", "version", "kernel")},
        "threads": 1, "rate_bytes_per_second": RATE, "burst_bytes": BURST, "payload": PAYLOAD, "jobs": jobs,
    }  # fmt: skip


def main() -> None:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None, help="the file to write; printed otherwise")
    parser.add_argument("--tiny", action="store_true", help="the first sizes alone: does it run?")
    given = parser.parse_args()
    text = json.dumps(record(given.tiny), indent=1) + "\n"
    print(text, end="") if given.out is None else given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
