"""Batching: the rows of each step, a pure function of (seed, epoch), and their copies on the device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from bpengine.backend import Backend, HostArray
from bpengine.data import in_memory, runs_of
from bpengine.kernels._kernel import Array
from bpengine.streams import stream
from bpengine.training.memory.epoch_orders import EpochOrders
from bpengine.training.memory.prefetch import prefetch
from bpengine.training.memory.row_reader import RowReader

WINDOW = 2**17  # rows shuffled together
BLOCK = 256  # neighbouring rows that stay in the same window
SLOW = 2**14  # rows whose order takes longer to draw, some 0.1 ms, than a thread takes to hand it over
STREAM_BYTES = 64 * 2**20  # the largest piece of arrays on disk; two pieces are in memory at a time
RESIDENT_BYTES = 2 * 2**30  # arrays in memory up to this size are kept on the device whole
Bring = Callable[[Backend, Sequence[HostArray], Sequence[str], Any], tuple[Array, ...]]  # as `brought`


@dataclass(frozen=True)
class Segment:
    """A run of steps of equal batch size: `order` (steps, batch) row numbers of `data`, or None for all rows each step.

    batch: the number of rows of a step, on all processes together. Where several processes share a step, data and order are
    those of this one. weights: those of the rows of `data`, on the host, or None. whole, start: the number of steps of the run
    that these are a part of, and the place of the first among them.
    """

    data: tuple[Array, ...]
    order: HostArray | None
    steps: int
    batch: int
    _: KW_ONLY
    weights: HostArray | None = None
    whole: int = 0
    start: int = 0

    @property
    def shares(self) -> HostArray:
        """The weight of each step in a mean over rows (steps,): the sum of its rows' weights, or their number.

        With weights it is that of this process's rows alone.
        """
        if self.weights is None:
            return np.broadcast_to(np.float64(self.batch), self.steps)
        if self.order is None:
            return np.full(self.steps, np.sum(self.weights, dtype=np.float64))
        return np.asarray(np.sum(self.weights[self.order], axis=1, dtype=np.float64))

    def part(self, start: int, stop: int) -> Segment:
        """Return the steps from `start` to `stop` of this run of steps."""
        order = None if self.order is None else self.order[start:stop]
        return replace(self, order=order, steps=stop - start, start=self.start + start)


def epoch_order(seed: int, epoch: int, rows: int, *, shuffle: bool) -> HostArray:
    """Return the row numbers (rows,) of one epoch, in the order they are seen.

    Up to `WINDOW` rows every order is equally likely. More rows are shuffled in two passes: blocks of `BLOCK` neighbours, then
    the rows within each window. A window then holds rows from 512 places, so reading it from a disk takes 512 short reads
    instead of 131,072.
    """
    kind = np.int32 if rows < 2**31 else np.int64
    if not shuffle:
        return np.arange(rows, dtype=kind)
    draw = stream("epoch order", seed, epoch)
    if rows <= WINDOW:
        return draw.permutation(rows).astype(kind)
    blocks = draw.permutation(-(-rows // BLOCK)).astype(kind)
    places: HostArray = np.add.outer(blocks * BLOCK, np.arange(BLOCK, dtype=kind)).ravel()
    order = places[places < rows]
    for start in range(0, rows, WINDOW):
        draw.shuffle(order[start : start + WINDOW])
    return order


def cut_epoch(rows: int, batch: int, least: int) -> tuple[int, int]:
    """Return the number of steps of `batch` rows in an epoch, and the rows of a last step of another size, or 0.

    A remainder of fewer rows than `least`, the smallest batch of the network, joins the batch before it.
    """
    full, rest = divmod(rows, batch)
    return (full - 1, batch + rest) if 0 < rest < least and full else (full, rest)


def batches(order: HostArray, batch: int, least: int = 1) -> list[HostArray]:
    """Cut an epoch's order into (steps, batch), and its remainder into a last step (1, rows)."""
    full, _ = cut_epoch(len(order), batch, least)
    cut = [order[: full * batch].reshape(full, batch), order[full * batch :].reshape(1, -1)]
    return [part for part in cut if part.size]


def whole_batch(batch: int) -> slice:
    """Return the rows of a batch that one process by itself computes: all of them."""
    return slice(0, batch)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The training arrays of one fit: x, target and, where rows are weighted, weights.

    `resident` are the arrays on the device, or None when they are read from disk and brought there piece by piece.
    own(batch) says which rows of a batch this process computes; it reads only these from a file.
    """

    backend: Backend
    arrays: tuple[HostArray, ...]
    dtypes: tuple[str, ...]
    batch: int  # the number of rows of a step; all of them for a full batch
    seed: int
    shuffle: bool
    resident: tuple[Array, ...] | None
    least: int = 1  # the fewest rows a step may have
    shift: int = 0  # added to a step's number where the fit continues another
    own: Callable[[int], slice] = whole_batch
    subset: HostArray | None = None  # the numbers of the rows of `arrays` that are trained on; None for all
    orders: EpochOrders = field(init=False, default_factory=EpochOrders)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.arrays[0] if self.subset is None else self.subset)

    @property
    def epoch_steps(self) -> int:
        """The number of steps of an epoch."""
        full, rest = cut_epoch(self.rows, self.batch, self.least)
        return full + (rest > 0)

    def epoch_end(self, step: int) -> int:
        """Return the step after which the epoch of `step` ends."""
        return step + self.epoch_steps - (step + self.shift) % self.epoch_steps

    def segments(self, start: int, stop: int) -> Generator[Segment]:
        """Yield the steps from `start` to `stop`, counted from the first epoch on, less `shift`.

        A segment lies within one epoch, unless a step is a whole epoch. `close()` ends the reading.
        """
        if self.resident and self.batch == self.rows:
            steps, weights = (
                stop - start,
                self._weights([a if self.subset is None else a[self.subset] for a in self.arrays]),
            )
            yield Segment(self.resident, None, steps, self.rows, weights=weights, whole=steps, start=start)
        elif self.resident:
            for part in self._orders(start, stop):
                batch = part.order.shape[1]
                here = part.order[:, self.own(batch)]
                yield Segment(
                    self.resident,
                    here,
                    len(here),
                    batch,
                    weights=self._weights(self.arrays),
                    whole=part.whole,
                    start=part.start,
                )
        else:
            with closing(prefetch(self._read(self._orders(start, stop)))) as pieces:
                for arrays, part, batch in pieces:
                    yield Segment(
                        self._bring(arrays),
                        part.order,
                        len(part.order),
                        batch,
                        weights=self._weights(arrays),
                        whole=part.whole,
                        start=part.start,
                    )

    def draw_ahead(self, stop: int) -> EpochOrders:
        """Let the orders of the epochs up to step `stop` be drawn ahead, where that spares a device of its own some waiting.

        Returns the orders, which are to be closed after the last use. Rows that are read from disk need no such thread: the
        one that reads ahead draws their orders as well.
        """
        if self.backend.host_is_free and self.resident and self.shuffle and self.rows >= SLOW:
            self.orders.draw_ahead(-(-(stop + self.shift) // self.epoch_steps))
        return self.orders

    def _orders(self, start: int, stop: int) -> Iterator[_Part]:
        """Yield the row numbers (steps, batch) of each segment; the first and the last segment may be incomplete."""
        start, stop = start + self.shift, stop + self.shift
        for epoch in range(start // self.epoch_steps, -(-stop // self.epoch_steps)):
            first = epoch * self.epoch_steps
            for whole in batches(self.orders.of(epoch, self._epoch_order), self.batch, self.least):
                for piece in self._pieces(whole):
                    begin = max(0, start - first)
                    part = piece[begin : max(0, stop - first)]
                    first += len(piece)
                    if len(part):
                        yield _Part(part, len(piece), begin)

    def _epoch_order(self, epoch: int) -> HostArray:
        """Return the row numbers of an epoch, as `arrays` count them."""
        order = epoch_order(self.seed, epoch, self.rows, shuffle=self.shuffle)
        return order if self.subset is None else self.subset[order]

    def _pieces(self, order: HostArray) -> list[HostArray]:
        """Cut an order into pieces that are held in memory at a time: windows, halves, quarters ... of windows."""
        if self.resident:
            return [order]
        rows, row_bytes = WINDOW, sum(a[:1].nbytes for a in self.arrays)
        while rows > 1 and rows * row_bytes > STREAM_BYTES:
            rows //= 2
        cuts = np.append(-(-np.arange(0, order.size, rows) // order.shape[1]), len(order))
        return [order[a:b] for a, b in pairwise(np.unique(cuts))]

    def _read(self, orders: Iterator[_Part]) -> Iterator[tuple[list[HostArray], _Part, int]]:
        """Yield each piece's rows in the order of the disk, their order of use, and the rows of a batch on all processes.

        The next piece is prefetched while one is in use.
        """
        readers = [RowReader(a, dtype) for a, dtype in zip(self.arrays, self.dtypes, strict=True)]
        coming, of = None, None
        for part in chain(orders, [None]):
            piece, came_of = coming, of
            coming, of = None if part is None else _ascending(part.order, self.own(part.order.shape[1])), part
            if coming:
                for reader in readers:
                    reader.prefetch_rows(coming.rows, coming.runs)
            if piece and came_of:
                read = [reader.read(piece.rows, piece.runs) for reader in readers]
                yield read, came_of._replace(order=piece.order), piece.batch

    @staticmethod
    def _weights(arrays: Sequence[HostArray]) -> HostArray | None:
        """Return the weights, the third array, or None."""
        return arrays[2] if len(arrays) > 2 else None

    def _bring(self, arrays: list[HostArray]) -> tuple[Array, ...]:
        return tuple(self.backend.asarray(a, d, copy=False) for a, d in zip(arrays, self.dtypes, strict=True))


class _Part(NamedTuple):
    """The row numbers (steps, batch) of a run of steps, or of a part of it: the steps of the whole, and the first one."""

    order: HostArray
    whole: int
    start: int


class _Piece(NamedTuple):
    """A process's row numbers of an order, ascending; their runs; the order as positions in them; the batch's rows."""

    rows: HostArray
    runs: HostArray
    order: HostArray
    batch: int


def _ascending(whole: HostArray, own: slice = slice(None)) -> _Piece:
    """Sort the row numbers of an order (steps, batch) that this process computes."""
    order = whole[:, own]
    bits = max(order.size - 1, 1).bit_length()
    numbered = np.sort(order.ravel().astype(np.int64) << bits | np.arange(order.size))  # faster than argsort
    places = np.empty(order.size, np.int32)
    places[numbered & (1 << bits) - 1] = np.arange(order.size, dtype=np.int32)
    rows = numbered >> bits
    return _Piece(rows, runs_of(rows), places.reshape(order.shape), whole.shape[1])


def brought(
    backend: Backend, arrays: Sequence[HostArray], dtypes: Sequence[str], part: slice | HostArray
) -> tuple[Array, ...]:
    """Return the rows of a part of arrays, a slice or numbers of rows, on the device."""
    by_number = isinstance(part, slice) and part == slice(None)
    return backend.bring_rows([in_memory(a[part]) for a in arrays], dtypes, by_number=by_number)


def make_source(
    backend: Backend,
    arrays: tuple[HostArray, ...],
    dtypes: tuple[str, ...],
    batch_size: int | None,
    seed: int,
    *,
    shuffle: bool,
    least: int = 1,
    own: Callable[[int], slice] = whole_batch,
    subset: HostArray | None = None,
    bring: Bring = brought,
) -> Source:
    """Put the arrays on the device, unless they are memory-mapped or too large and are trained in batches.

    Of arrays that are one batch only the rows of this process, own(rows), or of `subset`, are put there.
    """
    rows = len(arrays[0] if subset is None else subset)
    batch = rows if batch_size is None else min(batch_size, rows)
    large = sum(a.nbytes for a in arrays) > RESIDENT_BYTES
    on_disk = any(isinstance(a, np.memmap) for a in arrays)
    stay = batch < rows and (on_disk or (large and not backend.takes_all_rows))
    here = slice(None) if batch < rows else own(rows) if subset is None else subset
    resident = None if stay else bring(backend, arrays, dtypes, here)
    return Source(
        backend=backend,
        arrays=arrays,
        dtypes=dtypes,
        batch=batch,
        seed=seed,
        shuffle=shuffle,
        resident=resident,
        least=least,
        own=own,
        subset=subset,
    )
