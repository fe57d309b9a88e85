"""The tree and the cuts: pure, and the same for every number of processes."""

from __future__ import annotations

import numpy as np
import pytest

from bpengine.distributed.adder import ShardAdder
from bpengine.distributed.comm import Solo
from bpengine.distributed.tree import Cut, Tree, additions, own_shards, subtrees

MOST = 64


def serial(shards: int) -> str:
    """Return the sum of all shards as one process writes it: halves at powers of two, the last ones first."""
    tree = Tree(lambda a, b: f"({a}+{b})")
    for shard in range(shards):
        tree.push(shard, 1, str(shard))
    total: str = tree.total()
    return total


def balanced(start: int, size: int) -> str:
    """Return the sum of `size` shards, a power of two, as a balanced tree writes it."""
    if size == 1:
        return str(start)
    half = size // 2
    return f"({balanced(start, half)}+{balanced(start + half, half)})"


@pytest.mark.parametrize("power", range(7))
def test_a_power_of_two_is_a_balanced_tree(power: int) -> None:
    assert serial(2**power) == balanced(0, 2**power)


def test_every_number_of_processes_adds_in_the_order_of_one() -> None:
    for shards in [*range(1, MOST + 1), 100, 255, 257]:
        whole = serial(shards)
        for size in range(1, min(shards, MOST) + 1):
            merged = Tree(lambda a, b: f"({a}+{b})")
            for rank in range(size):
                mine = Tree(lambda a, b: f"({a}+{b})")
                for shard in own_shards(shards, rank, size):
                    mine.push(shard, 1, str(shard))
                assert len(mine.roots) <= 2 * shards.bit_length()
                for root in mine.roots:
                    merged.push(*root)
            assert merged.total() == whole, (shards, size)


def test_additions_by_place_are_those_of_the_tree() -> None:
    for shards in range(1, MOST + 1):
        for size in range(1, shards + 1):
            keys = [key for rank in range(size) for key in subtrees(own_shards(shards, rank, size))]
            values = []
            for start, length in keys:
                part = Tree(lambda a, b: f"({a}+{b})")
                for shard in range(start, start + length):
                    part.push(shard, 1, str(shard))
                values.append(part.total())
            for a, b in additions(keys):
                values[a] = f"({values[a]}+{values[b]})"
            assert values[0] == serial(shards), (shards, size)


def test_every_row_belongs_to_exactly_one_shard() -> None:
    for batch in (0, 1, 2, 7, 64, 100, 250):
        for shards in (1, 2, 3, 12, 16, 64):
            whole = Cut.of(batch, shards)
            lengths = [whole.length(shard) for shard in whole.own]
            assert sum(lengths) == batch
            assert max(lengths) - min(lengths) <= 1
            assert whole.even == (len(set(lengths)) == 1)
            for size in range(1, shards + 1):
                cuts = [Cut.of(batch, shards, rank, size) for rank in range(size)]
                taken = [row for cut in cuts for row in range(*cut.rows.indices(batch))]
                assert taken == [*range(batch)]
                assert [shard for cut in cuts for shard in cut.own] == [*range(shards)]


def test_the_adder_gives_each_shard_its_rows_and_their_place() -> None:
    cut, rows, seen = Cut.of(10, 4, 1, 2), np.arange(5, 10), []

    def part(own: tuple[np.ndarray, ...], first: int, count: int) -> dict[str, np.ndarray]:
        seen.append((first, count))
        return {"rows": own[0].sum(keepdims=True), "first": np.array([first])}

    total = ShardAdder(np)(part, (rows,), cut)
    assert seen == [(5, 2), (7, 3)]
    assert {name: value.tolist() for name, value in total.items()} == {"rows": [35], "first": [12]}


def test_the_adder_exchanges_roots_as_vectors_and_gives_views_of_the_sum() -> None:
    exchanged = []

    def exchange(roots: np.ndarray) -> np.ndarray:
        exchanged.append(roots)
        result = np.empty(roots.shape[1])
        Solo().add_up(roots, result, 3)
        return result

    parts = [{"a": np.full((2, 2), float(k)), "b": np.array([10.0 * k])} for k in range(3)]
    total = ShardAdder(np, exchange)(lambda own, first, count: parts[first], (np.zeros(3),), Cut.of(3, 3))
    assert exchanged[0].shape == (2, 5)  # the sum of shards 0 and 1, and shard 2
    np.testing.assert_array_equal(total["a"], np.full((2, 2), 3.0))
    np.testing.assert_array_equal(total["b"], [30.0])
