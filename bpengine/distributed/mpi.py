"""The processes of an MPI job, through mpi4py. MPI only moves bytes: this module does the additions, in their fixed order."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from bpengine.distributed.comm import HostArray, Number
from bpengine.distributed.exchange import Collectives, VectorExchange, exchange_of
from bpengine.distributed.watch import HEARTBEAT, Watch, limit, record_exit_code

LONGEST = 10.0  # seconds that a failed process waits for others, at most
# MPICH's Allgatherv passes pieces of 32 KB around the ring where the number of processes is no power of two: over a network
# each piece waits for the one before, and the exchange takes twice the time. 0: whole slices.
SETTINGS = {"MPIR_CVAR_ALLGATHERV_PIPELINE_MSG_SIZE": "0"}
PAUSE = 0.01  # seconds between two checks whether the others have failed as well


class MpiComm:
    """All processes of an MPI job; made by all of them at once, see `Comm`. Needs mpi4py."""

    def __init__(self) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)  # MPI reads it when it starts
        from mpi4py import MPI

        self._mpi, self._comm = MPI, MPI.COMM_WORLD.Dup()
        self._failures = MPI.COMM_WORLD.Dup()  # a separate communicator: a failure must not match another exchange
        self.rank, self.size = int(self._comm.rank), int(self._comm.size)
        who, beats = f"process {self.rank} of {self.size}", os.environ.get(HEARTBEAT) if self.rank == 0 else None
        self._watch = Watch(who, limit(), self.abort, beats)
        comm = self._comm
        self._move = Collectives(
            all_gather=comm.Allgather, all_gather_v=comm.Allgatherv, all_to_all=comm.Alltoall, all_to_all_v=comm.Alltoallv,
            exchange=comm.Sendrecv,
        )  # fmt: skip
        self._exchanges: dict[tuple[int, int, Any], VectorExchange] = {}

    def __repr__(self) -> str:
        return f"MpiComm(process {self.rank} of {self.size})"

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self._watch.begin()
        try:
            yield
        finally:
            self._watch.end()

    def add_up(self, roots: HostArray, result: HostArray, shards: int) -> None:
        """Exchange roots, and add them in the tree's order."""
        key = (shards, result.size, result.dtype)
        exchange = self._exchanges.get(key)
        if exchange is None:
            exchange = self._exchanges[key] = exchange_of(self.rank, self.size, shards, result.size, result.dtype)
        self._watch.begin()  # no context manager, because this is called in every step
        exchange.run(self._move, roots, result)
        self._watch.end()

    def queued(self) -> None:
        """Record that an exchange was queued on a device: the next call must come within the limit."""
        self._watch.end()  # the end of the previous one, as far as it can be tested without waiting
        self._watch.begin()

    def lead(self, value: Number) -> Number:
        """Return rank 0's number."""
        box = np.array([value], np.float64)
        with self._watched():
            self._comm.Bcast(box, 0)
        return type(value)(box[0])

    def any(self, mine: bool) -> bool:
        """Return whether the value is true on any process."""
        box, anywhere = np.array([mine], np.int32), np.zeros(1, np.int32)
        with self._watched():
            self._comm.Allreduce(box, anywhere, self._mpi.MAX)
        return bool(anywhere[0])

    def gather(self, values: HostArray) -> list[HostArray]:
        """Return the arrays of all processes."""
        values = np.ascontiguousarray(values)
        counts = np.zeros(self.size, np.int64)
        with self._watched():
            self._comm.Allgather(np.array([values.size], np.int64), counts)
            everything = np.empty(int(counts.sum()), values.dtype)
            self._comm.Allgatherv(values.ravel(), [everything, counts.tolist()])
        parts = np.split(everything, np.cumsum(counts)[:-1])
        return [part.reshape(-1, *values.shape[1:]) for part in parts]

    def share(self, values: HostArray) -> HostArray:
        """Return rank 0's array."""
        result = np.array(values, order="C")
        with self._watched():
            self._comm.Bcast(result.reshape(-1).view(np.uint8), 0)
        return result

    def first(self, text: str | None) -> str | None:
        """Return the text of the first process that has one."""
        texts = self.gather(np.frombuffer((text or "").encode(), np.uint8))
        return next((said for t in texts if (said := t.tobytes().decode())), None)

    def all_failed(self, wait: float) -> bool:
        """Return whether all processes call this within `wait` seconds, or within the time since their last exchange."""
        wait = min(max(wait, self._watch.apart), LONGEST)  # at the start, processes fail at different times
        request, until = self._failures.Ibarrier(), time.monotonic() + wait
        while not request.Test():
            if time.monotonic() > until:
                return False
            time.sleep(PAUSE)
        return True

    def rest(self) -> None:
        """Record that no step follows."""
        self._watch.rest()

    def abort(self, code: int) -> NoReturn:
        """End all processes at once."""
        sys.stderr.flush()
        record_exit_code(code)
        self._comm.Abort(code)
        os._exit(code)
