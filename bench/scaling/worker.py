"""What each process of a measurement does: exchanges, or steps of training. Rank 0 prints what it timed, as JSON.

mpiexec -n 2 python -m bench.scaling.worker exchange SHARDS BYTES ...
mpiexec -n 1 python -m bench.scaling.worker products ROWS ...
mpiexec -n 2 python -m bench.scaling.worker steps ROWS
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bench.scaling.model import roots
from bpengine.distributed import Comm, Solo

NETWORK = bp.Network(784, [bp.Dense(1024, "relu"), bp.Dense(1024, "relu"), bp.Dense(10)], "softmax_cross_entropy")
SHORT = 2**16  # bytes, below which an exchange is repeated often
TRIPS = (64, 1024, 4096, 2**20)  # bytes of the messages that say latency and bandwidth
STEPS = 2  # of an epoch
ROUNDS = 5  # in which processes take steps apart and together


class Eager(NumpyBackend):
    """NumPy that never compiles: a compiler at work would take the cores that are measured."""

    patience = math.inf


def exchange(comm: Comm, shards: int, *sizes: int) -> dict[str, Any]:
    """Time exchanges of vectors of so many bytes, and messages of 64 bytes and of 1 MB between ranks 0 and 1."""
    mine = roots(shards, comm.size)[comm.rank]
    result: dict[str, Any] = {
        "trips": {size: _half_trips(size, 500 if size < SHORT else 5) for size in TRIPS},
        "seconds": {},
    }
    for size in sizes:
        values, total = np.ones((mine, size // 4), np.float32), np.empty(size // 4, np.float32)
        times = []
        for _ in range(200 if size < SHORT else 8):
            comm.lead(0)
            comm.any(False)  # nobody is ahead
            began = time.perf_counter()
            comm.add_up(values, total, shards)
            times.append(time.perf_counter() - began)
            values[...] = 1  # additions may write over it
        if not np.all(total == sum(roots(shards, comm.size))):
            raise SystemExit("the sum is wrong")
        result["seconds"][size] = times[1:]  # the first makes its plan
    return result


def _half_trips(size: int, count: int) -> dict[str, float]:
    """Return half of the fastest and of the median round trip of a message between ranks 0 and 1, in seconds."""
    from mpi4py import MPI

    comm, box, trips = MPI.COMM_WORLD, np.zeros(size, np.uint8), []
    for _ in range(count):
        comm.Barrier()
        began = time.perf_counter()
        for sender in (0, 1):
            if comm.rank < 2:
                (comm.Send if comm.rank == sender else comm.Recv)(box, 1 - comm.rank)
        trips.append((time.perf_counter() - began) / 2)
    return {"fastest": min(trips), "median": statistics.median(trips)}


def products(comm: Comm, *batches: int) -> dict[str, Any]:
    """Time steps of one process at each number of rows, in seconds of its processor: others may use the cores as well."""
    return {"seconds": {batch: _steps(Solo(), batch, time.process_time, epochs=12) for batch in batches}}


def steps(comm: Comm, batch: int) -> dict[str, Any]:
    """Time steps of all processes, and, in turns with them, of each process by itself with its rows, all at once.

    Of these the longest counts: a step waits for it.
    """
    together, apart = list[float](), list[float]()
    for _ in range(ROUNDS):
        comm.any(False)
        mine = np.array(_steps(Solo(), batch // comm.size, time.perf_counter))
        apart += np.max(comm.gather(mine), axis=0).tolist()
        together += _steps(comm, batch, time.perf_counter)
    return {"seconds": {batch: together}, "apart": {batch: apart}}


def _steps(comm: Comm, batch: int, clock: Callable[[], float], epochs: int = 4) -> list[float]:
    """Return the seconds of a step in each epoch but the first, of plain NumPy with one shard on each process."""
    rng, stamps = np.random.default_rng(0), list[float]()
    x, y = rng.standard_normal((STEPS * batch, 784), np.float32), rng.integers(0, 10, STEPS * batch)

    def stamp(model: bp.Model, epoch: Any) -> None:
        stamps.append(clock())

    bp.Model(NETWORK, backend=Eager()).fit(
        x, y, batch_size=batch, epochs=epochs, shards=comm.size, comm=comm, callbacks=stamp
    )
    if comm.rank:  # callbacks are rank 0's
        return []
    return [(b - a) / STEPS for a, b in pairwise(stamps)]


def main(work: str, *numbers: str) -> None:
    """Do the work; rank 0 prints."""
    comm = bp.world()
    works: dict[str, Callable[..., dict[str, Any]]] = {"exchange": exchange, "products": products, "steps": steps}
    result = works[work](comm, *map(int, numbers))
    if comm.rank == 0:
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
