"""Communicators: the interface by which the processes of one training exchange values, and its form for one process."""

from __future__ import annotations

import sys
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np

from bpengine.distributed.tree import Tree, subtrees

Number = TypeVar("Number", bool, int, float)
HostArray = np.ndarray[Any, Any]


class Comm(Protocol):
    """The interface by which the processes of one training exchange values.

    Every method but `all_failed`, `rest` and `abort` is called by all processes, in one order. `rank` counts from 0 to
    `size` - 1.
    """

    @property
    def rank(self) -> int:
        """The number of this process."""

    @property
    def size(self) -> int:
        """The number of processes."""

    def add_up(self, roots: HostArray, result: HostArray, shards: int) -> None:
        """Put the tree's sum over all processes' roots (roots, elements) into `result` (elements,), the same on all."""

    def queued(self) -> None:
        """Record that an exchange was queued on the devices; the next call of another method shows that it has ended."""

    def lead(self, value: Number) -> Number:
        """Return rank 0's number, for decisions that depend on a clock or a file and must be the same everywhere."""

    def any(self, mine: bool) -> bool:
        """Return whether the value is true on any process."""

    def gather(self, values: HostArray) -> list[HostArray]:
        """Return the arrays of all processes in the order of their ranks; their lengths may differ."""

    def share(self, values: HostArray) -> HostArray:
        """Return rank 0's array, of the same shape and dtype everywhere."""

    def first(self, text: str | None) -> str | None:
        """Return the text of the first process that has one."""

    def all_failed(self, wait: float) -> bool:
        """Return whether all processes call this within about `wait` seconds; called once, by a process that fails."""

    def rest(self) -> None:
        """Record that no step follows, so that the watch does not wait for one."""

    def abort(self, code: int) -> NoReturn:
        """End all processes with an exit code."""


class Solo:
    """One process. All instances are equal.

    >>> Solo().size
    1
    """

    rank, size = 0, 1

    def __eq__(self, other: object) -> bool:
        return type(other) is Solo

    def __hash__(self) -> int:
        return hash(Solo)

    def __repr__(self) -> str:
        return "Solo()"

    def add_up(self, roots: HostArray, result: HostArray, shards: int) -> None:
        """Add up this process's roots."""
        tree = Tree(np.add)
        for (start, size), row in zip(subtrees(range(shards)), roots, strict=True):
            tree.push(start, size, row)
        result[...] = tree.total()

    def queued(self) -> None:
        """Do nothing."""

    def lead(self, value: Number) -> Number:
        """Return the number."""
        return value

    def any(self, mine: bool) -> bool:
        """Return the value."""
        return mine

    def gather(self, values: HostArray) -> list[HostArray]:
        """Return the array alone."""
        return [values]

    def share(self, values: HostArray) -> HostArray:
        """Return the array."""
        return values

    def first(self, text: str | None) -> str | None:
        """Return the text, None for an empty one."""
        return text or None

    def all_failed(self, wait: float) -> bool:
        """Return True: there is no other."""
        return True

    def rest(self) -> None:
        """Do nothing."""

    def abort(self, code: int) -> NoReturn:
        """Exit."""
        sys.exit(code)
