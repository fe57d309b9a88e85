"""Sums of GPUs that train together: NCCL moves the bytes from device to device, and the order of additions stays the tree's.

Everything is launched on the current stream without waiting, so the host stays steps ahead. NCCL performs no addition.
Source: NVIDIA, "NCCL User Guide", point-to-point communication (grouped sends and receives).
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from bpengine.backend import State, Step
from bpengine.distributed.adder import Exchange, ShardAdder
from bpengine.distributed.comm import Comm, HostArray
from bpengine.distributed.exchange import Collectives, VectorExchange, exchange_of
from bpengine.errors import BackendUnavailable
from bpengine.i18n.language import localized
from bpengine.kernels._kernel import Array, Namespace

if TYPE_CHECKING:
    from cupy.cuda.nccl import NcclCommunicator

LONGEST = 256  # bytes of a GPU's address and its machine's name


class DeviceExchange:
    """Adds up the roots of all processes on their GPUs; made by all of them at once (see `connected`)."""

    def __init__(self, xp: Namespace, move: Collectives, comm: Comm) -> None:
        self._xp, self._move, self._comm = xp, move, comm
        self._exchanges: dict[tuple[int, int, Any], VectorExchange] = {}

    def add_up(self, roots: Array, shards: int, result: Array | None = None) -> Array:
        """Return the tree's sum over all processes' roots (roots, n), the same on all, in `result` (n,) or a new array."""
        n, dtype = roots.shape[1], roots.dtype
        if (shards, n, dtype) not in self._exchanges:
            self._exchanges[shards, n, dtype] = exchange_of(
                self._comm.rank, self._comm.size, shards, n, dtype, self._xp
            )
        result = self._xp.empty(n, dtype) if result is None else result
        self._exchanges[shards, n, dtype].run(self._move, roots, result)
        self._comm.queued()
        return result


@dataclass(frozen=True, eq=False)
class AgreedStep:
    """A step that all processes run together. agree(problem) returns the first problem of any process, or None, to all.

    A compiled step exchanges also after a halt, so either all processes compile it or none.
    """

    step: Step
    agree: Callable[[str | None], str | None]

    def __call__(self, state: State, rows: tuple[Array, ...], lr: Array) -> tuple[State, dict[str, Array]]:
        """Run the step."""
        return self.step(state, rows, lr)


class SharedAdder(ShardAdder):
    """Adds shards whose sums are exchanged from GPU to GPU."""

    def __init__(self, xp: Namespace, exchange: Exchange, plus: Callable[[Any, Any], Any], comm: Comm) -> None:
        super().__init__(xp, exchange, plus)
        self._agree = comm.first

    def around(self, step: Step) -> Step:
        """Return a step that either all processes compile or none."""
        return AgreedStep(step, self._agree)


class NcclMoves:
    """Moves of whole arrays by NCCL, in the order of a stream.

    nccl: CuPy's module. communicator: this process's `NcclCommunicator`. stream(): the pointer of the stream.
    """

    def __init__(self, nccl: ModuleType, communicator: NcclCommunicator, comm: Comm, stream: Callable[[], int]) -> None:
        self._nccl, self._communicator, self._stream = nccl, communicator, stream
        self._rank, self._size = comm.rank, comm.size

    def collectives(self) -> Collectives:
        """Return these moves in the form that exchanges require."""
        return Collectives(
            all_gather=self._all_gather, all_gather_v=self._all_gather_v, all_to_all=self._all_to_all,
            all_to_all_v=self._all_to_all_v, exchange=self._exchange,
        )  # fmt: skip

    @contextmanager
    def _together(self) -> Iterator[None]:
        self._nccl.groupStart()
        try:
            yield
        finally:
            self._nccl.groupEnd()

    def _send(self, array: Array, to: int) -> None:
        if array.size:  # both sides know that there is nothing to send
            self._communicator.send(pointer(array), array.nbytes, self._nccl.NCCL_UINT8, to, self._stream())

    def _receive(self, array: Array, source: int) -> None:
        if array.size:
            self._communicator.recv(pointer(array), array.nbytes, self._nccl.NCCL_UINT8, source, self._stream())

    def _all_gather(self, sent: Array, received: Array) -> None:
        at = (pointer(sent), pointer(received))
        self._communicator.allGather(*at, sent.nbytes, self._nccl.NCCL_UINT8, self._stream())

    def _all_gather_v(self, sent: Array, received: list[Any]) -> None:
        parts = _parts(*received)
        self._move([sent.reshape(-1)] * len(parts), parts)

    def _all_to_all(self, sent: Array, received: Array) -> None:
        self._move(list(sent.reshape(self._size, -1)), list(received.reshape(self._size, -1)))

    def _all_to_all_v(self, sent: list[Any], received: list[Any]) -> None:
        self._move(_parts(*sent), _parts(*received))

    def _exchange(self, sent: Array, to: int, tag: int, received: Array, source: int, received_tag: int) -> None:
        with self._together():
            self._send(sent, to)
            self._receive(received, source)

    def _move(self, sent: list[Array], received: list[Array]) -> None:
        """Send one array to each process and receive one from each; this process's own is copied."""
        received[self._rank][...] = sent[self._rank]
        with self._together():
            for other, (mine, its) in enumerate(zip(sent, received, strict=True)):
                if other != self._rank:
                    self._send(mine, other)
                    self._receive(its, other)


def pointer(array: Array) -> int:
    """Return the address of an array of CuPy."""
    address: int = array.data.ptr
    return address


def _parts(array: Array, counts: list[int]) -> list[Array]:
    """Return consecutive parts of an array with these numbers of elements."""
    flat = array.reshape(-1)
    return [flat[start:end] for start, end in pairwise(accumulate(counts, initial=0))]


def connected(cupy: ModuleType, device: int, comm: Comm) -> DeviceExchange | None:
    """Return the exchange of sums between the GPUs of all processes; None, with one warning, where NCCL cannot.

    All processes call this at once and get the same result. NCCL supports one process per GPU.
    """
    nccl = cupy.cuda.nccl
    obstacle = comm.first(None if nccl.available else "NCCL is missing. Install it: pip install nvidia-nccl-cu13")
    obstacle = obstacle or _shared_device(cupy, device, comm)
    if obstacle:
        if comm.rank == 0:
            warnings.warn(localized(f"Sums go from GPU to GPU through the host: {obstacle}."), stacklevel=2)
        return None
    key = comm.share(np.frombuffer(nccl.get_unique_id(), np.uint8))
    try:
        communicator = nccl.NcclCommunicator(comm.size, key.tobytes(), comm.rank)
    except nccl.NcclError as error:
        raise BackendUnavailable(
            f"backend 'cupy' cannot connect the GPUs of {comm.size} processes (NCCL): {error}. NCCL_DEBUG=INFO in the "
            "environment says more."
        ) from None
    moves = NcclMoves(nccl, communicator, comm, lambda: cupy.cuda.get_current_stream().ptr)
    return DeviceExchange(cupy, moves.collectives(), comm)


def _shared_device(cupy: ModuleType, device: int, comm: Comm) -> str:
    """Return a message if two processes use one GPU, or an empty text."""
    own = f"{cupy.cuda.runtime.deviceGetPCIBusId(device)} {platform.node()}"
    texts = comm.gather(np.frombuffer(own.encode().ljust(LONGEST, b"\0")[:LONGEST], np.uint8))
    places: dict[bytes, int] = {}
    for rank, text in enumerate(map(HostArray.tobytes, texts)):
        if (other := places.setdefault(text, rank)) != rank:
            return (
                f"processes {other} and {rank} have the same GPU, and NCCL takes one process for a GPU. "
                "Start as many as there are GPUs, and leave out the device: each takes its own"
            )
    return ""
