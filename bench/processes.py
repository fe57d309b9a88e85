"""What two processes gain on one machine: exchanges through shared memory, and steps of two processes against one.

python bench/processes.py [--pairs 5] [--shards 2 16] [--out FILE]: 784-1024-1024-10 with SGD, batches of 2,048 rows, NumPy
compiled, one BLAS thread in each process. Each turn runs one process without shards, and for each number of shards one process
and two, on the same two cores; "gain" is one process without shards / two processes, in seconds of a step, and
"gain_at_equal_shards" one process with as many shards / two processes: medians of the turns. Needs mpi4py and mpiexec.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.extras import install_command
from bpengine.system import hardware
from bpengine.system.launcher import mpiexec

NETWORK = bp.Network(784, [bp.Dense(1024, "relu"), bp.Dense(1024, "relu"), bp.Dense(10)], "softmax_cross_entropy")
BATCH, STEPS = 2048, 80
SIZES = (4096, 2**20)  # bytes of the vectors that are exchanged
REPEATS = {4096: 2000, 2**20: 300}


def fitted(shards: int | None) -> None:
    """Print the seconds of a step, of epochs after the first, which compile."""
    comm, stamps = bp.world(), list[float]()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4 * BATCH, 784)).astype("float32"), rng.integers(0, 10, 4 * BATCH)

    def stamp(model: bp.Model, epoch: Any) -> None:
        stamps.append(time.perf_counter())

    bp.Model(NETWORK).fit(
        x, y, batch_size=BATCH, steps=STEPS, optimizer=bp.SGD(0.01), shards=shards, comm=comm, callbacks=stamp
    )
    if comm.rank == 0:
        seconds = [(b - a) / 4 for a, b in pairwise(stamps)]
        print(json.dumps(min(seconds[1:])), flush=True)


def exchanged() -> None:
    """Print the median and the fastest seconds of an exchange of vectors of each size."""
    comm, times = bp.world(), dict[int, list[float]]()
    for size in SIZES:
        roots, total = np.ones((1, size // 4), np.float32), np.empty(size // 4, np.float32)
        for _ in range(REPEATS[size]):
            comm.any(False)  # nobody is ahead
            began = time.perf_counter()
            comm.add_up(roots, total, comm.size)
            times.setdefault(size, []).append(time.perf_counter() - began)
    if comm.rank == 0:
        print(json.dumps({size: [statistics.median(each), min(each)] for size, each in times.items()}), flush=True)


def run(processes: int, *what: str) -> Any:
    """Run this file on so many processes with one BLAS thread each, and return what it printed."""
    start = mpiexec() if processes > 1 else None
    if processes > 1 and start is None:
        raise SystemExit(f"no mpiexec: {install_command('mpi', 'mpich')}")
    command = [start, "-n", str(processes)] if start else []
    done = subprocess.run(
        [*command, sys.executable, __file__, "--work", *what],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True, timeout=300,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def name(processes: int, shards: int) -> str:
    """Describe a contender."""
    return f"{processes} of 1 thread, {f'{shards} shards' if shards else 'no shards'}"


def ratio(turns: list[dict[tuple[int, int], float]], slower: tuple[int, int], faster: tuple[int, int]) -> float:
    """Return how many times faster one contender's steps are than another's: the median of the turns."""
    return statistics.median(turn[slower] / turn[faster] for turn in turns)


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--shards", type=int, nargs="+", default=[2, 16])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        exchanged() if options.work[0] == "exchange" else fitted(int(options.work[1]) or None)
        return
    load = os.getloadavg()[0]
    contenders = [(1, 0), *((processes, shards) for shards in options.shards for processes in (1, 2))]
    turns = [{each: run(each[0], "fit", str(each[1])) for each in contenders} for _ in range(options.pairs)]
    exchanges = [
        run(2, "exchange") for _ in range(max(5, options.pairs))
    ]  # processors of a virtual machine may move apart
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": hardware.cpu(),
        "load_before": load,
        "versions": {"bpengine": bp.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "exchange_seconds": {
            size: {
                "medians": [each[str(size)][0] for each in exchanges],
                "fastest": min(each[str(size)][1] for each in exchanges),
            }
            for size in SIZES
        },
        "step_seconds": {name(*each): [turn[each] for turn in turns] for each in contenders},
        "gain": {n: ratio(turns, (1, 0), (2, n)) for n in options.shards},
        "gain_at_equal_shards": {n: ratio(turns, (1, n), (2, n)) for n in options.shards},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
