"""The sum of the shards' contributions to a step: those of this process one after the other, then those of all processes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from operator import add
from typing import Any, TypeAlias

from bpengine.distributed.tree import Cut, Tree

Array: TypeAlias = Any  # an array of a Namespace
Namespace: TypeAlias = Any  # NumPy's names, of any library
Parts = dict[str, Any]
Part = Callable[[tuple[Any, ...], Any, int], Parts]  # (rows of a shard, its first row's position, its number of rows)
Exchange = Callable[[Any], Any]  # roots (roots, elements) of this process -> their sum over all processes (elements,)


class ShardAdder:
    """Adds the parts of a step over this process's shards, one after the other, and over all processes by `exchange`.

    xp: the array namespace. exchange: None for one process, which has nothing to exchange. plus: a + b of two arrays.
    """

    def __init__(self, xp: Namespace, exchange: Exchange | None = None, plus: Callable[[Any, Any], Any] = add) -> None:
        self._xp, self._exchange, self._plus = xp, exchange, plus

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the step in the form that the backend's `run_epoch` requires; here, the step itself."""
        return step

    def __call__(self, part: Part, rows: tuple[Any, ...], cut: Cut) -> Parts:
        """Return the sum of part(rows of a shard, its first row's position in the batch, its number of rows) over all shards.

        rows: arrays of the rows that this process computes, `cut.rows`. A part is a dict of arrays of the same shapes for
        all shards.
        """
        tree, first = Tree(self._added), cut.rows.start
        for shard in cut.own:
            begin, count = cut.start(shard), cut.length(shard)
            mine = tuple(array[begin - first : begin - first + count] for array in rows)
            tree.push(shard, 1, part(mine, begin, count))
        if self._exchange is None:
            total: Parts = tree.total()
            return total
        return self._exchanged(self._exchange, [root.value for root in tree.roots])

    def _exchanged(self, exchange: Exchange, roots: list[Parts]) -> Parts:
        """Flatten each root to one vector, exchange these, and return views of the summed vector."""
        xp, like = self._xp, roots[0]
        joined = [xp.concat([xp.reshape(root[name], (-1,)) for name in like]) for root in roots]
        return self._apart(exchange(xp.stack(joined)), like)

    def _apart(self, joined: Array, like: Parts) -> Parts:
        """Return views of a vector that holds the arrays of a part one after the other."""
        first, result = 0, {}
        for name, array in like.items():
            size = prod(array.shape)
            result[name] = self._xp.reshape(joined[first : first + size], array.shape)
            first += size
        return result

    def _added(self, a: Parts, b: Parts) -> Parts:
        return {name: self._plus(a[name], b[name]) for name in a}
