"""The shards of a step as a loop in its record: one shard of each length is recorded, whatever their number.

A shard is traced as a part of the step. Nodes that depend on its rows, or on their position in the batch, are the loop's
body; all others are computed once, before the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from bpengine_steps.ir import (
    LEFT,
    RIGHT,
    ZEROS,
    Addition,
    Path,
    RecordedStep,
    ShardLoop,
    ShardTurn,
    StepGraph,
    StepNode,
    needed,
)
from bpengine_steps.tracing import TracedArray, as_node

from bpengine.distributed.adder import Part, Parts, ShardAdder
from bpengine.distributed.tree import Cut, Tree, subtrees


class RecordingAdder(ShardAdder):
    """Adds the parts of arrays one after the other, and records the addition of traced parts as a loop."""

    def __call__(self, part: Part, rows: tuple[Any, ...], cut: Cut) -> Parts:
        """Return the sum of all parts (see `ShardAdder`)."""
        lengths = sorted({cut.length(shard) for shard in cut.own} - {0})
        if len(cut.own) < 2 or not lengths or not all(_are_rows(array) for array in rows):
            return super().__call__(part, rows, cut)
        graph: StepGraph = rows[0]._graph
        shards = {length: _TracedShard.of(part, rows, length) for length in lengths}
        like = shards[lengths[0]].parts
        if len({node.dtype for node in like.values()}) > 1:
            return super().__call__(part, rows, cut)
        numbers = tuple(int(array.node.info[1]) for array in rows)
        summed = _looped(graph, shards, cut, numbers, alone=self._exchange is None)
        return self._apart(summed if self._exchange is None else self._exchange(summed), like)


def _are_rows(array: object) -> bool:
    """Tell whether this is an unchanged input array of a recorded step's rows."""
    return isinstance(array, TracedArray) and array.node.op == "input" and array.node.info[0] == "rows"


@dataclass(frozen=True, eq=False)
class _TracedShard:
    """A shard traced in the step's graph: its rows, the position of its first row, and its contributions by name."""

    rows: tuple[StepNode, ...]
    first: StepNode
    parts: dict[str, StepNode]

    @classmethod
    def of(cls, part: Part, rows: tuple[TracedArray, ...], length: int) -> _TracedShard:
        """Trace a shard of so many rows; its contributions are in C order."""
        graph = rows[0]._graph
        nodes = tuple(
            graph.add("input", (), (length, *array.shape[1:]), array.dtype, ("shard rows", length, k))
            for k, array in enumerate(rows)
        )
        first = graph.add("input", (), (1,), np.uint32, ("shard first", length))
        added = part(tuple(TracedArray(graph, node) for node in nodes), TracedArray(graph, first), length)
        parts = {name: as_node(graph, value) for name, value in added.items()}
        return cls(nodes, first, {name: graph.copied(node, node.shape) for name, node in parts.items()})

    @property
    def inside(self) -> set[int]:
        """The numbers of the nodes that depend on the shard."""
        inside = {node.number for node in (*self.rows, self.first)}
        for node in needed(self.parts.values()):
            if any(operand.number in inside for operand in node.inputs):
                inside.add(node.number)
        return inside


def _looped(
    graph: StepGraph, shards: dict[int, _TracedShard], cut: Cut, data: tuple[int, ...], *, alone: bool
) -> TracedArray:
    """Record the loop: its result is the sum of all shards (n,) for a single process, else its roots (roots, n)."""
    like = next(iter(shards.values())).parts.values()
    size, dtype = sum(node.size for node in like), next(iter(like)).dtype
    outer: dict[int, StepNode] = {}
    bodies = {length: _Body(shard.inside, outer).step(shard) for length, shard in shards.items()}
    loop = ShardLoop(bodies=bodies, data=data, size=size, turns=tuple(turns_of(cut, alone=alone)))
    shape = (size,) if alone else (len(subtrees(cut.own)), size)
    return TracedArray(graph, graph.add("loop", outer.values(), shape, dtype, loop))


class _Body:
    """A shard as a separate step: nodes are moved to its graph, and arrays that they read from outside become inputs.

    inside: the numbers of the moved nodes. `outer` collects the arrays that loops over shards read.
    """

    def __init__(self, inside: set[int], outer: dict[int, StepNode]) -> None:
        self._graph, self._inside, self._outer = StepGraph(), inside, outer
        self._new: dict[int, StepNode] = {}
        self._inputs: dict[Path, StepNode] = {}

    def step(self, shard: _TracedShard) -> RecordedStep:
        """Return the step, whose new state is the shard's contribution."""
        self._inputs[("first",)] = self._take(shard.first)
        rows = tuple(self._take(node) for node in shard.rows)
        sums = {("sum", name): self._take(node) for name, node in shard.parts.items()}
        for path, node in sums.items():
            self._input(path, node)
        rate = self._graph.add("input", (), (1,), np.float32, ("rate",))
        return RecordedStep(inputs=self._inputs, rows=rows, rate=rate, changed=dict(sums), reports={})

    def _take(self, node: StepNode) -> StepNode:
        """Return this graph's node for a node of the whole step."""
        if node.number not in self._new:
            whole = node.number in self._inside or node.op in ("constant", "view")
            self._new[node.number] = self._same(node) if whole else self._array(node)
        return self._new[node.number]

    def _same(self, node: StepNode) -> StepNode:
        return self._graph.add(node.op, [self._take(n) for n in node.inputs], node.shape, node.dtype, node.info)

    def _array(self, node: StepNode) -> StepNode:
        self._outer.setdefault(node.number, node)
        return self._input(("outer", list(self._outer).index(node.number)), node)

    def _input(self, path: Path, like: StepNode) -> StepNode:
        self._inputs[path] = self._graph.add("input", (), like.shape, like.dtype, ("state", path))
        return self._inputs[path]


def turns_of(cut: Cut, *, alone: bool) -> Iterator[ShardTurn | Addition]:
    """Yield the shards of a process and their additions, in the order of the tree, with their target buffers.

    The buffer of a sum has the number of roots before it, so each root ends in its own line of the result.
    """
    tree, own = Tree(lambda left, right: [*right, *left]), cut.own
    for shard in own:
        count, left_waits = cut.length(shard), bool(tree.roots) and tree.roots[-1].value == [LEFT]
        leaf = ZEROS if not count else RIGHT if left_waits else LEFT
        if count:
            yield ShardTurn(cut.start(shard) - cut.start(own.start), cut.start(shard), count, leaf)
        tree.push(shard, 1, [leaf])
        root, place = tree.roots[-1], len(tree.roots) - 1
        if len(root.value) > 1 or shard % 2 or shard + 1 == own.stop:  # otherwise its neighbour comes next
            yield Addition(tuple(root.value), place)
            tree.roots[-1] = root._replace(value=[place])
    if alone and len(tree.roots) > 1:
        yield Addition(tuple(tree.total()), 0)
