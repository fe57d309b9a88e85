"""The shards of a step inside a compiled epoch: a loop over those of this process, and their sum over all processes.

XLA's code must be the same for every number of processes, or the last bits would depend on it. So shards are computed in a
loop whose length and row positions are unknown to XLA, whether a process has one shard or all. The code after the sum uses
the result of another such loop, however the sum was computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from bpengine.backend import HostArray, State, Step
from bpengine.distributed.adder import Part, Parts, ShardAdder
from bpengine.distributed.tree import Cut, Tree, own_shards
from bpengine.kernels._kernel import Array
from bpengine_jax.transports import Transport


class LoopAdder(ShardAdder):
    """Adds the parts of a step over all shards inside a compiled epoch; `transport` moves sums between processes."""

    def __init__(self, cut: Cut, transport: Transport) -> None:
        super().__init__(jnp)
        self._transport = transport
        self._groups = groups(cut, transport.size)
        self._longest = max((group.length for group in self._groups), default=0)
        self._slots = range(cut.shards // transport.size) if transport.alike else cut.own

    def around(self, step: Step) -> Step:
        """Return the step with its transport, which decides how an epoch is compiled."""
        return step if self._transport.size == 1 else SharedStep(step, self._transport)

    def __call__(self, part: Part, rows: tuple[Array, ...], cut: Cut) -> Parts:
        """Return the sum of all parts on all processes (see `ShardAdder`)."""
        padded = tuple(_padded(array, self._longest + 1) for array in rows)
        zero = _unknown_zero(padded[0])
        sums: Parts = {}
        for group in self._groups:
            sums = self._looped(group, part, padded, zero, sums)
        roots = self._roots(sums)
        total = self._summed(roots) if self._transport.size > 1 else {name: root for name, (root,) in roots.items()}
        return _settled(total, zero)

    def _looped(self, group: Group, part: Part, rows: tuple[Array, ...], zero: Array, sums: Parts) -> Parts:
        """Put the parts of a group's shards into their slots of `sums`, which the first group allocates."""
        rank, length = self._transport.rank(), group.length
        places = jnp.asarray(group.places)[rank] + zero

        def one(i: Array) -> Parts:
            begin, first = places[i, 0], places[i, 1:2].astype(jnp.uint32)
            mine = tuple(lax.dynamic_slice_in_dim(array, begin, length) for array in rows)
            return part(mine, first, length)

        def body(i: Array, sums: Parts) -> Parts:
            return {name: lax.dynamic_update_index_in_dim(sums[name], a, places[i, 2], 0) for name, a in one(i).items()}

        if not sums:
            # one slot more than a process needs: XLA would optimise away a write into the only slot
            count = max(len(self._slots), group.places.shape[1], 2)
            shapes = jax.eval_shape(one, zero)
            sums = {name: jnp.zeros((count, *s.shape), s.dtype) for name, s in shapes.items()}
        result: Parts = lax.fori_loop(0, jnp.asarray(group.counts)[rank] + zero, body, sums)
        return result

    def _roots(self, sums: Parts) -> dict[str, list[Array]]:
        """Add the slots as the tree does, and return its roots; the root of all shards for one process."""
        result = {}
        for name, stacked in sums.items():
            tree = Tree(lambda a, b: a + b)
            for slot, shard in enumerate(self._slots):
                tree.push(shard, 1, stacked[slot])
            result[name] = [tree.total()] if self._transport.size == 1 else [root.value for root in tree.roots]
        return result

    def _summed(self, roots: dict[str, list[Array]]) -> Parts:
        """Flatten each root to one vector, exchange these, and split the sum."""
        joined = [jnp.concatenate([jnp.ravel(a) for a in root]) for root in zip(*roots.values(), strict=True)]
        total, first, result = self._transport.summed(jnp.stack(joined)), 0, {}
        for name, (like, *_) in roots.items():
            size = prod(like.shape)
            result[name] = jnp.reshape(total[first : first + size], like.shape)
            first += size
        return result


@dataclass(frozen=True, eq=False)
class SharedStep:
    """A step that several processes share: the step itself, and the transport of its sums."""

    step: Step
    transport: Transport

    def __call__(self, state: State, rows: tuple[Array, ...], lr: Array) -> tuple[State, dict[str, Array]]:
        """Run the step."""
        return self.step(state, rows, lr)


@dataclass(frozen=True, eq=False)
class Group:
    """The shards of one length: for each process their number `counts` (processes,), and `places` (processes, slots, 3).

    A place is the first row among the process's rows, the first row in the batch, and the slot among the process's shards.
    """

    length: int
    counts: HostArray
    places: HostArray


def groups(cut: Cut, size: int) -> list[Group]:
    """Return the shards of all `size` processes by length, of which a batch has at most two; empty shards are left out.

    >>> [(group.length, group.counts.tolist()) for group in groups(Cut.of(10, 4), 2)]
    [(2, [1, 1]), (3, [1, 1])]
    """
    by_length = []
    owned = [own_shards(cut.shards, rank, size) for rank in range(size)]
    for length in sorted({cut.length(shard) for shard in range(cut.shards)} - {0}):
        listed = [
            [
                (cut.start(shard) - cut.start(own.start), cut.start(shard), slot)
                for slot, shard in enumerate(own)
                if cut.length(shard) == length
            ]
            for own in owned
        ]
        counts = np.array([len(places) for places in listed], np.int32)
        table = np.zeros((size, counts.max(), 3), np.int32)
        for rank, places in enumerate(listed):
            table[rank, : len(places)] = np.array(places, np.int32).reshape(-1, 3)
        by_length.append(Group(length, counts, table))
    return by_length


def _padded(array: Array, least: int) -> Array:
    """Return rows padded with zeros if there are fewer than `least`: XLA would optimise away a gather of all rows."""
    short = max(least - array.shape[0], 0)
    return jnp.pad(array, [(0, short)] + [(0, 0)] * (array.ndim - 1)) if short else array


def _unknown_zero(x: Array) -> Array:
    """Return 0 (int32) as a value that depends on the rows, so that XLA cannot know it."""
    bits = lax.bitcast_convert_type(jnp.ravel(x)[0].astype(jnp.float32), jnp.uint32) >> 1
    return (jnp.minimum(bits + 1, 1) - 1).astype(jnp.int32)


def _settled(values: Parts, zero: Array) -> Parts:
    """Return the values as the result of a loop that XLA cannot simplify."""
    nothing = {name: jnp.zeros_like(value) for name, value in values.items()}
    result: Parts = lax.fori_loop(0, zero + 1, lambda i, before: values, nothing)
    return result
