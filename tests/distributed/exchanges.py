"""Compare exchanges with the tree that one process adds up: `mpiexec -n 4 python -m tests.distributed.exchanges`.

Prints "KIND, SHARDS shards, N elements: True" for each kind of exchange that these processes can use.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.distributed import Tree, exchange, guarded
from bpengine.distributed.mpi import MpiComm
from bpengine.distributed.tree import own_shards, subtrees

LENGTHS = (1, 2, 5, 1000, 30_001)


def shard(number: int, n: int) -> Any:
    """Return what a shard contributes: numbers of many sizes, whose sum depends on the order."""
    draw = np.random.default_rng((number, n))
    return (draw.normal(size=n) * 10.0 ** draw.integers(-6, 6, n)).astype(np.float32)


def added(shards: range, n: int) -> Tree:
    """Return the tree of these shards."""
    tree = Tree(np.add)
    for number in shards:
        tree.push(number, 1, shard(number, n))
    return tree


def compare(comm: MpiComm) -> None:
    """Run each kind on vectors of several lengths."""
    exchange.SMALL = 0  # all vectors are long
    rank, size, dtype = comm.rank, comm.size, np.dtype(np.float32)
    for shards in (size, 16, 17):
        roots = [subtrees(own_shards(shards, r, size)) for r in range(size)]
        for n in LENGTHS:
            mine = np.stack([root.value for root in added(own_shards(shards, rank, size), n).roots])
            kinds = {type(k).__name__: k for k in (
                exchange.Everything(roots, n, dtype), exchange.Slices(rank, roots, n, dtype),
                exchange.exchange_of(rank, size, shards, n, dtype),
            )}  # fmt: skip
            expected = added(range(shards), n).total()
            for name, kind in kinds.items():
                result = np.empty(n, dtype)
                for _ in range(2):  # the buffers are used again
                    kind.run(comm._move, mine.copy(), result)
                same = not comm.any(not np.array_equal(result, expected))
                if rank == 0:
                    print(f"{name}, {shards} shards, {n} elements: {same}", flush=True)


if __name__ == "__main__":
    sys.exit(guarded(bp.world(), lambda: compare(MpiComm())))
