"""Exchanges: how the roots of all processes become their sum on each, in the tree's order, for vectors of one length.

Each is made once, with its buffers, and used in every step.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from bpengine.distributed.comm import HostArray
from bpengine.distributed.tree import additions, own_shards, subtrees

SMALL = 2**16  # bytes of all roots, up to which each process sends its own to every other: one call in place of two


class VectorExchange(Protocol):
    """What adds up vectors of one length over all processes."""

    def run(self, comm: Any, roots: HostArray, result: HostArray) -> None:
        """Put the sum of all processes' roots (roots, n) into `result` (n,); comm: mpi4py's."""


def exchange_of(rank: int, size: int, shards: int, n: int, dtype: np.dtype[Any]) -> VectorExchange:
    """Return the exchange for vectors of `n` elements, the same kind on all processes."""
    roots = [subtrees(own_shards(shards, r, size)) for r in range(size)]
    if sum(map(len, roots)) * n * dtype.itemsize <= SMALL:
        return Everything(roots, n, dtype)
    if _power_of_two(size) and _power_of_two(shards) and shards >= size:
        return Halves(rank, size, n, dtype)
    return Slices(rank, roots, n, dtype)


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


class Everything:
    """Each process sends its roots to all others, and each adds everything: one call, for short vectors."""

    def __init__(self, roots: list[list[tuple[int, int]]], n: int, dtype: np.dtype[Any]) -> None:
        keys = [key for of_rank in roots for key in of_rank]
        self._received = np.empty((len(keys), n), dtype)
        self._rows, self._pairs = list(self._received), additions(keys)
        self._counts = [len(of_rank) * n for of_rank in roots]
        self._even = len(set(self._counts)) == 1

    def run(self, comm: Any, roots: HostArray, result: HostArray) -> None:
        """Put the sum of all roots into `result`."""
        if self._even:
            comm.Allgather(roots, self._received)
        else:
            comm.Allgatherv(roots, [self._received, self._counts])
        _merge(self._rows, self._pairs, result)


class Halves:
    """Recursive halving and doubling, for processes and shards that are powers of two: each has one root then.

    In round k a process exchanges halves of what it still adds up with the one whose rank differs in bit k. Neighbours come
    first, so the sums are those of the tree. After log2 W rounds each process has one W-th of the sum, and gives it back the
    same way: 2 log2 W messages, 2 (W - 1) / W times the vector's bytes.
    Source: Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH", International
    Journal of High Performance Computing Applications 19, 2005; the order of the rounds is ours.
    """

    def __init__(self, rank: int, size: int, n: int, dtype: np.dtype[Any]) -> None:
        self._received = np.empty((n + 1) // 2, dtype)
        self._rounds: list[tuple[int, slice, slice]] = []  # the other process, what is kept, what is sent
        start, stop = 0, n
        for k in range(size.bit_length() - 1):
            middle = (start + stop) // 2
            kept, sent = slice(start, middle), slice(middle, stop)
            if rank >> k & 1:
                kept, sent = sent, kept
            self._rounds.append((rank ^ (1 << k), kept, sent))
            start, stop = kept.start, kept.stop

    def run(self, comm: Any, roots: HostArray, result: HostArray) -> None:
        """Put the sum of all roots into `result`."""
        mine = roots[0]
        for other, kept, sent in self._rounds:
            received = self._received[: kept.stop - kept.start]
            comm.Sendrecv(mine[sent], other, 0, received, other, 0)
            np.add(mine[kept], received, out=result[kept])
            mine = result
        for other, kept, sent in reversed(self._rounds):
            comm.Sendrecv(result[kept], other, 0, result[sent], other, 0)


class Slices:
    """Each process adds one slice of all roots, and sends the sum to all: 2 (W - 1) / W times the bytes, as a ring."""

    def __init__(self, rank: int, roots: list[list[tuple[int, int]]], n: int, dtype: np.dtype[Any]) -> None:
        size, counts = len(roots), [len(of_rank) for of_rank in roots]
        keys = [key for of_rank in roots for key in of_rank]
        cuts = [n * r // size for r in range(size + 1)]
        slices = [slice(a, b) for a, b in pairwise(cuts)]
        width = cuts[rank + 1] - cuts[rank]
        self._received = np.empty((len(keys), width), dtype)
        self._rows, self._pairs = list(self._received), additions(keys)
        self._even = len(set(counts)) == 1 and n % size == 0
        self._counts = [count * width for count in counts]
        self._sent = np.empty(counts[rank] * n, dtype)
        self._slices, self._blocks = slices, _blocks(self._sent, counts[rank], slices)
        self._lengths = [part.stop - part.start for part in slices]
        self._send = [counts[rank] * length for length in self._lengths]
        self._mine = np.empty(width, dtype)

    def run(self, comm: Any, roots: HostArray, result: HostArray) -> None:
        """Put the sum of all roots into `result`."""
        sent = roots.reshape(-1)
        if len(roots) > 1:  # what goes to one process must lie in one piece
            sent = self._sent
            for block, part in zip(self._blocks, self._slices, strict=True):
                np.copyto(block, roots[:, part])
        if self._even:
            comm.Alltoall(sent, self._received)
            _merge(self._rows, self._pairs, self._mine)
            comm.Allgather(self._mine, result)
        else:
            comm.Alltoallv([sent, self._send], [self._received, self._counts])
            _merge(self._rows, self._pairs, self._mine)
            comm.Allgatherv(self._mine, [result, self._lengths])


def _merge(rows: list[HostArray], pairs: list[tuple[int, int]], target: HostArray) -> None:
    """Add received rows, which may be written over, in the tree's order; the last sum goes to `target`."""
    *earlier, (a, b) = pairs
    for left, right in earlier:
        np.add(rows[left], rows[right], out=rows[left])
    np.add(rows[a], rows[b], out=target)


def _blocks(memory: HostArray, roots: int, slices: list[slice]) -> list[HostArray]:
    """Return memory for each slice of all roots, (roots, elements of the slice), one behind the other."""
    lengths = [roots * (part.stop - part.start) for part in slices]
    parts = np.split(memory, np.cumsum(lengths)[:-1])
    return [block.reshape(roots, part.stop - part.start) for block, part in zip(parts, slices, strict=True)]
