"""Batching: which rows each step sees, as a pure function of (seed, epoch), and how rows reach the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bpengine.backend import Backend, HostArray
from bpengine.data import release
from bpengine.kernels._kernel import Array

STREAM_BYTES = 64 * 2**20  # how much of an array on disk is held in memory at a time
STRETCH_BYTES = 128 * 2**20  # how much of a file on disk is mapped at a time
RESIDENT_BYTES = 2 * 2**30  # arrays in memory up to this size are brought to the device whole


@dataclass(frozen=True)
class Segment:
    """A run of steps of equal batch size: `order` (steps, batch) row numbers of `data`, or None for all rows each step."""

    data: tuple[Array, ...]
    order: HostArray | None
    steps: int

    @property
    def batch(self) -> int:
        """The number of rows a step sees."""
        return int(self.data[0].shape[0]) if self.order is None else int(self.order.shape[1])

    def part(self, start: int, stop: int) -> Segment:
        """Return the steps from `start` to `stop`."""
        order = None if self.order is None else self.order[start:stop]
        return Segment(self.data, order, min(stop, self.steps) - start)


def epoch_order(seed: int, epoch: int, rows: int, *, shuffle: bool) -> HostArray:
    """Return the row numbers (rows,) of one epoch, in the order they are seen."""
    kind = np.int32 if rows < 2**31 else np.int64
    return (
        np.random.default_rng([seed, epoch]).permutation(rows).astype(kind) if shuffle else np.arange(rows, dtype=kind)
    )


def batches(order: HostArray, batch: int) -> list[HostArray]:
    """Cut an epoch's order into (steps, batch), and the rows that are left over into a last step of their own."""
    full = len(order) // batch
    cut = [order[: full * batch].reshape(full, batch), order[full * batch :].reshape(1, -1)]
    return [part for part in cut if part.size]


@dataclass(frozen=True)
class Source:
    """The training arrays of one fit, x first: on the device whole, or on disk and brought there piece by piece."""

    backend: Backend
    arrays: tuple[HostArray, ...]
    dtypes: tuple[str, ...]
    batch: int  # the number of rows for a full batch
    resident: tuple[Array, ...] | None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.arrays[0])

    def epoch(self, seed: int, epoch: int, *, shuffle: bool) -> Iterator[Segment]:
        """Yield the segments of one epoch."""
        if self.batch >= self.rows:
            yield Segment(self._whole(), None, 1)
            return
        for order in batches(epoch_order(seed, epoch, self.rows, shuffle=shuffle), self.batch):
            yield from [Segment(self.resident, order, len(order))] if self.resident else self._streamed(order)

    def _whole(self) -> tuple[Array, ...]:
        return self.resident or tuple(map(self._bring, self.arrays, self.dtypes))

    def _streamed(self, order: HostArray) -> Iterator[Segment]:
        row_bytes = sum(a[:1].nbytes for a in self.arrays)
        steps = max(1, STREAM_BYTES // (row_bytes * order.shape[1]))
        for start in range(0, len(order), steps):
            part = order[start : start + steps]
            data = tuple(
                self._bring(gather(a, part.ravel()), kind) for a, kind in zip(self.arrays, self.dtypes, strict=True)
            )
            yield Segment(data, np.arange(part.size, dtype=np.int32).reshape(part.shape), len(part))

    def _bring(self, array: HostArray, dtype: str) -> Array:
        return self.backend.asarray(array, dtype, copy=False)


def make_source(
    backend: Backend, arrays: tuple[HostArray, ...], dtypes: tuple[str, ...], batch_size: int | None
) -> Source:
    """Put the arrays on the device, unless they are memory-mapped or too large and are trained in batches."""
    rows = len(arrays[0])
    batch = rows if batch_size is None else min(batch_size, rows)
    large = sum(a.nbytes for a in arrays) > RESIDENT_BYTES
    on_disk = any(isinstance(a, np.memmap) for a in arrays)
    stay = batch < rows and (on_disk or (large and backend.name != "numpy"))
    resident = None if stay else tuple(backend.asarray(a, d, copy=False) for a, d in zip(arrays, dtypes, strict=True))
    return Source(backend, arrays, dtypes, batch, resident)


def gather(array: HostArray, rows: HostArray) -> HostArray:
    """Copy the given rows into memory, in their order, and let go of the pages of the file they came from.

    The system maps up to megabytes around every page that is touched. So the rows of an array on disk are taken in the
    order of the file, a stretch of it at a time, and each stretch is given back before the next.
    """
    if not isinstance(array, np.memmap):
        return np.take(array, rows, axis=0)
    picked = np.empty((len(rows), *array.shape[1:]), array.dtype)
    ascending = np.argsort(rows, kind="stable")
    stretch = max(1, STRETCH_BYTES * len(array) // array.nbytes)
    cuts = np.searchsorted(rows[ascending], np.arange(0, len(array) + stretch, stretch))
    for start, stop in pairwise(cuts):
        here = ascending[start:stop]
        picked[here] = np.take(array, rows[here], axis=0)
        release(array)
    return picked
