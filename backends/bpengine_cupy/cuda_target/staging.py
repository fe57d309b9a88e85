"""Rows that do not fit on the device beside a step's arrays: copied in pieces, the next piece while one is in use.

A ring of two pieces is on the device, and two are in page-locked memory of the host, or in ordinary memory where the system
gives no more of that: then CUDA copies them once more. A thread gathers the next piece's rows, a separate stream copies them,
and the step's stream waits for the copy before it reads. Row numbers are then positions in the ring, so the same kernels and
graphs run, with the same bits as for rows on the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import prod
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import DeviceMemoryError
from bpengine.i18n.language import localized
from bpengine.kernels._kernel import Array
from bpengine_cupy.cuda_target.driver import Driver

PIECE_BYTES = 64 << 20  # bytes of a piece, where there is room for two
SLOTS = 2
PIECES = 4  # a piece is at most one part of so many of the free memory
RESERVE = 64 << 20  # bytes that stay free where rows are copied to the device: for row numbers, reports, cuBLASLt
MIB = 1 << 20


class HostRows(np.ndarray[Any, np.dtype[Any]]):
    """Rows of a fit on the host; `placement` says where they are once a program has allocated its memory."""

    placement: Placement | None = None

    @classmethod
    def of(cls, arrays: Sequence[HostArray], driver: Driver) -> tuple[HostRows, ...]:
        """Return the arrays of one fit, which are placed together, without copying them."""
        rows = tuple(np.ascontiguousarray(array).view(cls) for array in arrays)
        placement = Placement(rows, driver)
        for array in rows:
            array.placement = placement
        return rows


class Placement:
    """The location of a fit's arrays, decided once, when the first program has its memory."""

    def __init__(self, rows: tuple[HostRows, ...], driver: Driver) -> None:
        self._rows, self._driver = [array.view(np.ndarray) for array in rows], driver
        self._there: tuple[Array, ...] | None = None
        self._decided = False
        self._pageable = False

    def settled(self, arena: int) -> tuple[Array, ...] | None:
        """Return the arrays on the device; None, with one message, where they do not fit there.

        arena: the bytes of the present program; the program of a last, smaller batch may take as much again.
        """
        if not self._decided:
            size, room = sum(array.nbytes for array in self._rows), self._driver.free()
            if size + arena + RESERVE <= room:
                self._there = tuple(self._driver.upload(array) for array in self._rows)
            else:
                needed, free = _mib(size), _mib(room)
                what = (
                    f"the rows of the fit take {needed} MiB, and {free} MiB of GPU memory are free beside the step: they stay "
                    "on the host and are copied in pieces, the next while one trains"
                )
                warnings.warn(localized(what), stacklevel=2)
            self._decided = True
        return self._there

    def host_memory(self, sizes: Sequence[int]) -> list[HostArray]:
        """Return memory of the host of so many bytes each: page-locked, else ordinary memory, which is said once."""
        if not self._pageable:
            try:
                return [self._driver.pinned(size) for size in sizes]
            except MemoryError:
                self._pageable = True
                needed = _mib(sum(sizes))
                what = (
                    f"the system gives no {needed} MiB of page-locked memory: rows are copied to the GPU from ordinary "
                    "memory, which is slower"
                )
                warnings.warn(localized(what), stacklevel=2)
        return [np.empty(size, np.uint8) for size in sizes]


class StagedRows:
    """The rows of one run, copied piece by piece.

    `rings` are the arrays on the device that hold the run's rows, `order` (steps, batch) their numbers in these. host_memory
    gives the memory in which they are gathered (see `Placement.host_memory`).
    """

    def __init__(
        self,
        driver: Driver,
        data: Sequence[HostArray],
        order: HostArray,
        host_memory: Callable[[Sequence[int]], list[HostArray]],
    ) -> None:
        steps, batch = order.shape
        self._driver, self._data, self._order = driver, [np.asarray(array) for array in data], order
        sizes = [prod(array.shape[1:]) * array.itemsize for array in self._data]
        step_bytes, room = max(batch * sum(sizes), 1), driver.free()
        self._steps = min(steps, max(PIECE_BYTES // step_bytes, 1), room // PIECES // step_bytes)  # steps of a piece
        if not self._steps:
            needed, free, fits = _mib(2 * step_bytes), _mib(room), room // PIECES // max(sum(sizes), 1)
            raise DeviceMemoryError.of(
                f"backend 'cupy' has too little GPU memory for the rows of a step: two batches of {batch} rows take {needed} "
                f"MiB, and {free} MiB are free. batch_size={fits} fits.",
                2 * step_bytes,
                room,
            )
        rows = self._steps * batch
        self.rings = tuple(
            driver.empty(SLOTS * rows * size).view(array.dtype).reshape(SLOTS * rows, *array.shape[1:])
            for array, size in zip(self._data, sizes, strict=True)
        )
        self._gathered = [
            memory.view(array.dtype).reshape(SLOTS, rows, *array.shape[1:])
            for memory, array in zip(host_memory([SLOTS * rows * size for size in sizes]), self._data, strict=True)
        ]
        self._places = [[driver.address(ring) + slot * rows * size for ring, size in zip(self.rings, sizes, strict=True)]
                        for slot in range(SLOTS)]  # fmt: skip
        places: HostArray = np.arange(SLOTS * rows, dtype=np.int32).reshape(SLOTS * self._steps, batch)
        self.order = places[np.arange(steps) % len(places)]
        self._copied: list[Any] = [None] * SLOTS  # by slot: the event of its copy
        self._used: list[Any] = [None] * SLOTS  # by slot: the mark after the steps that read it
        self._coming: Future[int] | None = None  # the piece that is being gathered
        self._thread = ThreadPoolExecutor(1, "bpengine-rows")

    def pieces(self) -> Generator[int]:
        """Yield the steps of each piece, which is on the device for calls that are launched in the first stream meanwhile."""
        driver, count = self._driver, -(-len(self._order) // self._steps)
        try:
            self._begin(0)
            self._send()
            for number in range(count):
                if number + 1 < count:
                    self._begin(number + 1)
                driver.after(self._copied[number % SLOTS])
                yield len(self._of(number))
                self._used[number % SLOTS] = driver.mark()
                if self._coming:
                    self._send()
        finally:
            self._thread.shutdown(cancel_futures=True)
            for copied in self._copied:
                if copied is not None:
                    driver.finish(copied)  # otherwise the thread might read freed memory

    def advance(self) -> None:
        """Launch the copy of the next piece, if its rows are gathered; called while a piece is in use."""
        if self._coming and self._coming.done():
            self._send()

    def _of(self, number: int) -> HostArray:
        piece: HostArray = self._order[number * self._steps : (number + 1) * self._steps]
        return piece

    def _begin(self, number: int) -> None:
        self._coming = self._thread.submit(self._gather, number)

    def _gather(self, number: int) -> int:
        """Gather a piece's rows in the host's memory for pieces, whose last copy must have finished."""
        slot, numbers = number % SLOTS, self._of(number).reshape(-1)
        if self._copied[slot] is not None:
            self._driver.finish(self._copied[slot])
        for array, memory in zip(self._data, self._gathered, strict=True):
            np.take(
                array, numbers, axis=0, out=memory[slot, : len(numbers)], mode="clip"
            )  # "raise" would copy once more
        return number

    def _send(self) -> None:
        assert self._coming is not None  # the caller has begun the run
        number, self._coming = self._coming.result(), None
        slot, rows = number % SLOTS, self._of(number).size
        pairs = [(to, memory[slot, :rows]) for to, memory in zip(self._places[slot], self._gathered, strict=True)]
        self._copied[slot] = self._driver.send(pairs, self._used[slot])


def _mib(size: int) -> str:
    return f"{-(-size // MIB):,}"
