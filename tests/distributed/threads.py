"""Processes played by threads: a communicator between them, and an NCCL that moves the bytes of NumPy arrays."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from types import SimpleNamespace
from typing import Any, NoReturn, TypeVar

import numpy as np

LIMIT = 60  # seconds that a thread waits for others
Value = TypeVar("Value")


class Meeting:
    """A meeting point at which threads exchange a value."""

    def __init__(self, size: int) -> None:
        self.size, self._values = size, [None] * size
        self._barrier = threading.Barrier(size)
        self.mail = {(a, b): Queue[bytes]() for a in range(size) for b in range(size)}

    def shown(self, rank: int, value: Any) -> list[Any]:
        """Return the values of all threads."""
        self._values[rank] = value
        self._barrier.wait(LIMIT)
        values = list(self._values)
        self._barrier.wait(LIMIT)
        return values


class ThreadComm:
    """See `bpengine.distributed.Comm`; it adds nothing up."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank, self.size, self.queues = meeting, rank, meeting.size, 0

    def add_up(self, roots: Any, result: Any, shards: int) -> None:
        raise AssertionError("sums go from GPU to GPU")

    def queued(self) -> None:
        self.queues += 1

    def lead(self, value: Any) -> Any:
        return self.meeting.shown(self.rank, value)[0]

    def any(self, mine: bool) -> bool:
        return any(self.meeting.shown(self.rank, mine))

    def gather(self, values: Any) -> list[Any]:
        return self.meeting.shown(self.rank, np.array(values))

    def share(self, values: Any) -> Any:
        return np.array(self.meeting.shown(self.rank, values)[0])

    def first(self, text: str | None) -> str | None:
        return next((text for text in self.meeting.shown(self.rank, text) if text), None)

    def all_failed(self, wait: float) -> bool:
        return True

    def rest(self) -> None:
        pass

    def abort(self, code: int) -> NoReturn:
        raise SystemExit(code)


def bytes_at(pointer: int, count: int) -> Any:
    return (ctypes.c_char * count).from_address(pointer)


class Nccl:
    """CuPy's module, as one thread has it: between two processes only groups of sends and receives move anything."""

    available, NCCL_UINT8, NcclError = True, 1, OSError

    def __init__(self, meeting: Meeting) -> None:
        self.meeting = meeting
        self.group: list[Callable[[], object]] | None = None
        self.NcclCommunicator, self.groupStart, self.groupEnd = self.connect, self.start_group, self.end_group

    def get_unique_id(self) -> bytes:
        return bytes(range(128))

    def connect(self, size: int, key: bytes, rank: int) -> Communicator:
        assert (size, key) == (self.meeting.size, bytes(range(128)))
        return Communicator(self, rank)

    def start_group(self) -> None:
        assert self.group is None
        self.group = []

    def end_group(self) -> None:
        assert self.group is not None
        group, self.group = self.group, None
        for act in group:
            act()


class Communicator:
    """The communicator of one process."""

    def __init__(self, nccl: Nccl, rank: int) -> None:
        self.nccl, self.rank = nccl, rank
        self.allGather = self.all_gather

    def send(self, pointer: int, count: int, dtype: int, to: int, stream: int) -> None:
        assert self.nccl.group is not None, "outside of a group both sides would wait for each other"
        self.nccl.group.insert(0, lambda: self.nccl.meeting.mail[self.rank, to].put(bytes_at(pointer, count).raw))

    def recv(self, pointer: int, count: int, dtype: int, source: int, stream: int) -> None:
        assert self.nccl.group is not None

        def act() -> None:
            content = self.nccl.meeting.mail[source, self.rank].get(timeout=LIMIT)
            assert len(content) == count
            ctypes.memmove(pointer, content, count)

        self.nccl.group.append(act)

    def all_gather(self, sent: int, received: int, count: int, dtype: int, stream: int) -> None:
        parts = self.nccl.meeting.shown(self.rank, bytes_at(sent, count).raw)
        ctypes.memmove(received, b"".join(parts), count * len(parts))


def cupy(nccl: Any, bus: str = "0000:00:04.0") -> Any:
    """Return NumPy under CuPy's names, with this NCCL and a GPU at this address."""
    runtime = SimpleNamespace(deviceGetPCIBusId=lambda device: bus)
    cuda = SimpleNamespace(nccl=nccl, runtime=runtime, get_current_stream=lambda: SimpleNamespace(ptr=0))
    return SimpleNamespace(empty=np.empty, add=np.add, cuda=cuda)


def in_threads(size: int, run: Callable[[ThreadComm], Value]) -> list[Value]:
    """Return what `run` returns in each of so many threads."""
    meeting = Meeting(size)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: run(ThreadComm(meeting, rank)), range(size)))
