"""Exchanges: each process gets the sum of all processes' roots, in the tree's order, for vectors of one length.

Each is made once, with its buffers, and used in every step. They are written for the arrays of any library with NumPy's names
(`xp`), moved by `Collectives`: MPI on the host, NCCL between GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import numpy as np

from bpengine.distributed.adder import Namespace
from bpengine.distributed.tree import additions, own_shards, subtrees

Array: TypeAlias = Any  # of `xp`, in C order
# up to this many bytes of all roots, each process sends its roots to every other: one call in place of two
SMALL = 2**16


@dataclass(frozen=True, kw_only=True)
class Collectives:
    """Moves contiguous arrays; all processes make the same calls. Counts are numbers of elements, by process.

    all_gather(sent, received) gives the arrays of all processes, of one size, to each; all_gather_v(sent, [received, counts])
    arrays of several sizes. all_to_all(sent, received) gives each process its own part of every process's array, all of one
    size; all_to_all_v([sent, counts], [received, counts]) parts of several sizes. exchange(sent, other, 0, received, other, 0)
    is between two processes. (The arguments are those of mpi4py, whose methods can be used directly.)
    """

    all_gather: Callable[[Any, Any], Any]
    all_gather_v: Callable[[Any, Any], Any]
    all_to_all: Callable[[Any, Any], Any]
    all_to_all_v: Callable[[Any, Any], Any]
    exchange: Callable[[Any, int, int, Any, int, int], Any]


class VectorExchange(Protocol):
    """Adds up vectors of one length over all processes."""

    def run(self, move: Collectives, roots: Array, result: Array) -> None:
        """Put the sum of all processes' roots (roots, n) into `result` (n,)."""


def exchange_of(rank: int, size: int, shards: int, n: int, dtype: np.dtype[Any], xp: Namespace = np) -> VectorExchange:
    """Return the exchange for vectors of `n` elements of `xp`, the same kind on all processes."""
    roots = [subtrees(own_shards(shards, r, size)) for r in range(size)]
    if sum(map(len, roots)) * n * dtype.itemsize <= SMALL:
        return Everything(roots, n, dtype, xp)
    if _power_of_two(size) and _power_of_two(shards) and shards >= size:
        return Halves(rank, size, n, dtype, xp)
    return Slices(rank, roots, n, dtype, xp)


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


class Everything:
    """Each process sends its roots to all others, and each adds everything: one call, for short vectors."""

    def __init__(self, roots: list[list[tuple[int, int]]], n: int, dtype: np.dtype[Any], xp: Namespace = np) -> None:
        keys = [key for of_rank in roots for key in of_rank]
        self._xp, self._received = xp, xp.empty((len(keys), n), dtype)
        self._rows, self._pairs = list(self._received), additions(keys)
        self._counts = [len(of_rank) * n for of_rank in roots]
        self._even = len(set(self._counts)) == 1

    def run(self, move: Collectives, roots: Array, result: Array) -> None:
        """Put the sum of all roots into `result`."""
        if self._even:
            move.all_gather(roots, self._received)
        else:
            move.all_gather_v(roots, [self._received, self._counts])
        _merge(self._xp, self._rows, self._pairs, result)


class Halves:
    """Recursive halving and doubling, for processes and shards that are powers of two: each has one root then.

    In round k a process exchanges halves of its remaining part with the process whose rank differs in bit k. Neighbours come
    first, so the sums are those of the tree. After log2 W rounds each process has one W-th of the sum, and the rounds are
    repeated in reverse to give every process the whole: 2 log2 W messages, 2 (W - 1) / W times the vector's bytes.
    Source: Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH", International
    Journal of High Performance Computing Applications 19, 2005; the order of the rounds is ours.
    """

    def __init__(self, rank: int, size: int, n: int, dtype: np.dtype[Any], xp: Namespace = np) -> None:
        self._xp, self._received = xp, xp.empty((n + 1) // 2, dtype)
        self._rounds: list[tuple[int, slice, slice]] = []  # the other process, what is kept, what is sent
        start, stop = 0, n
        for k in range(size.bit_length() - 1):
            middle = (start + stop) // 2
            kept, sent = slice(start, middle), slice(middle, stop)
            if rank >> k & 1:
                kept, sent = sent, kept
            self._rounds.append((rank ^ (1 << k), kept, sent))
            start, stop = kept.start, kept.stop

    def run(self, move: Collectives, roots: Array, result: Array) -> None:
        """Put the sum of all roots into `result`."""
        mine = roots[0]
        for other, kept, sent in self._rounds:
            received = self._received[: kept.stop - kept.start]
            move.exchange(mine[sent], other, 0, received, other, 0)
            self._xp.add(mine[kept], received, out=result[kept])
            mine = result
        for other, kept, sent in reversed(self._rounds):
            move.exchange(result[kept], other, 0, result[sent], other, 0)


class Slices:
    """Each process adds one slice of all roots, and sends the sum to all: 2 (W - 1) / W times the bytes, as a ring."""

    def __init__(
        self, rank: int, roots: list[list[tuple[int, int]]], n: int, dtype: np.dtype[Any], xp: Namespace = np
    ) -> None:
        size, counts = len(roots), [len(of_rank) for of_rank in roots]
        keys = [key for of_rank in roots for key in of_rank]
        cuts = [n * r // size for r in range(size + 1)]
        slices = [slice(a, b) for a, b in pairwise(cuts)]
        width = cuts[rank + 1] - cuts[rank]
        self._xp, self._received = xp, xp.empty((len(keys), width), dtype)
        self._rows, self._pairs = list(self._received), additions(keys)
        self._even = len(set(counts)) == 1 and n % size == 0
        self._counts = [count * width for count in counts]
        self._sent = xp.empty(counts[rank] * n, dtype)
        self._slices, self._blocks = slices, _blocks(self._sent, counts[rank], slices)
        self._lengths = [part.stop - part.start for part in slices]
        self._send = [counts[rank] * length for length in self._lengths]
        self._mine = xp.empty(width, dtype)

    def run(self, move: Collectives, roots: Array, result: Array) -> None:
        """Put the sum of all roots into `result`."""
        sent = roots.reshape(-1)
        if len(roots) > 1:  # the data for one process must be contiguous
            sent = self._sent
            for block, part in zip(self._blocks, self._slices, strict=True):
                block[...] = roots[:, part]
        if self._even:
            move.all_to_all(sent, self._received)
            _merge(self._xp, self._rows, self._pairs, self._mine)
            move.all_gather(self._mine, result)
        else:
            move.all_to_all_v([sent, self._send], [self._received, self._counts])
            _merge(self._xp, self._rows, self._pairs, self._mine)
            move.all_gather_v(self._mine, [result, self._lengths])


def _merge(xp: Namespace, rows: list[Array], pairs: list[tuple[int, int]], target: Array) -> None:
    """Add received rows, which may be overwritten, in the tree's order; the last sum is written to `target`."""
    *earlier, (a, b) = pairs
    for left, right in earlier:
        xp.add(rows[left], rows[right], out=rows[left])
    xp.add(rows[a], rows[b], out=target)


def _blocks(memory: Array, roots: int, slices: list[slice]) -> list[Array]:
    """Return memory for each slice of all roots, (roots, elements of the slice), one after the other."""
    ends = [roots * part.stop for part in slices]
    return [
        memory[roots * part.start : end].reshape(roots, part.stop - part.start)
        for part, end in zip(slices, ends, strict=True)
    ]
