"""The tree: shards of a batch are added in one fixed order, whichever process computes them, so the bits are always the same.

A batch is cut into V shards. Neighbouring sums of one size are added, as in a balanced binary tree over the shards' numbers.
The shards of a process are consecutive, so its own sums are subtrees; their roots are added in the same tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar


def own_shards(shards: int, rank: int, size: int) -> range:
    """Return the numbers of the shards that a process computes; `size` processes need not divide their number.

    >>> [list(own_shards(5, rank, 2)) for rank in range(2)]
    [[0, 1], [2, 3, 4]]
    """
    return range(shards * rank // size, shards * (rank + 1) // size)


@dataclass(frozen=True)
class Cut:
    """A batch of `batch` rows on all processes together, cut into `shards`; this process computes those of `own`.

    Where a shard begins follows from the batch and the number of shards alone. With fewer rows than shards some are empty.

    >>> [Cut(10, 4, range(4)).start(shard) for shard in range(5)]
    [0, 2, 5, 7, 10]
    """

    batch: int
    shards: int
    own: range

    @classmethod
    def of(cls, batch: int, shards: int, rank: int = 0, size: int = 1) -> Cut:
        """Return the cut of a batch for one of `size` processes."""
        return cls(batch, shards, own_shards(shards, rank, size))

    def start(self, shard: int) -> int:
        """Return the position in the batch of a shard's first row."""
        return self.batch * shard // self.shards

    def length(self, shard: int) -> int:
        """Return the number of rows of a shard."""
        return self.start(shard + 1) - self.start(shard)

    @property
    def rows(self) -> slice:
        """The rows of the batch that this process computes."""
        return slice(self.start(self.own.start), self.start(self.own.stop))

    @property
    def even(self) -> bool:
        """Whether all shards have the same number of rows, so that their means count alike."""
        return self.batch % self.shards == 0


Value = TypeVar("Value")


class Root(NamedTuple, Generic[Value]):
    """The sum of the shards start, ..., start + size - 1."""

    start: int
    size: int
    value: Value


class Tree(Generic[Value]):
    """Adds values that are pushed in the order of their shards, each as soon as its neighbour has arrived.

    Two sums of one size are neighbours when the first begins at a multiple of twice that size. At most log2 of the number of
    shards are in memory at a time: the roots of subtrees. Roots of several processes, pushed in the order of their shards,
    give the same tree as one process.

    >>> tree = Tree(lambda a, b: f"({a}+{b})")
    >>> for shard in range(6):
    ...     tree.push(shard, 1, shard)
    >>> tree.total()
    '(((0+1)+(2+3))+(4+5))'
    """

    def __init__(self, add: Callable[[Value, Value], Value]) -> None:
        self._add = add
        self.roots: list[Root[Value]] = []

    def push(self, start: int, size: int, value: Value) -> None:
        """Add the sum of the shards start, ..., start + size - 1."""
        while self.roots:
            left = self.roots[-1]
            if left.size != size or left.start + left.size != start or left.start % (2 * size):
                break
            self.roots.pop()
            start, size, value = left.start, 2 * size, self._add(left.value, value)
        self.roots.append(Root(start, size, value))

    def total(self) -> Value:
        """Return the sum of all; where their number is no power of two, the last roots are added first."""
        *others, last = self.roots
        value = last.value
        for left in reversed(others):
            value = self._add(left.value, value)
        return value


def subtrees(own: range) -> list[tuple[int, int]]:
    """Return (start, size) of the roots of a process with these shards.

    >>> subtrees(range(3, 8))
    [(3, 1), (4, 4)]
    """
    tree = Tree(lambda a, b: None)
    for shard in own:
        tree.push(shard, 1, None)
    return [(root.start, root.size) for root in tree.roots]


def additions(roots: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs of positions (a, b), in order, where b is added to a; the sum of all is then at position 0.

    >>> additions([(0, 1), (1, 1), (2, 2)])
    [(0, 1), (0, 2)]
    """
    pairs: list[tuple[int, int]] = []

    def add(a: int, b: int) -> int:
        pairs.append((a, b))
        return a

    tree = Tree(add)
    for place, (start, size) in enumerate(roots):
        tree.push(start, size, place)
    tree.total()
    return pairs
