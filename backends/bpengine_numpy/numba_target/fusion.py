"""Fusion: elementwise operations of one shape, and sums over the batch, gathered into one pass over memory.

A node's level counts, backwards from the end of the step, the passes that must come after it. Elementwise operations
that feed each other share a level; whatever needs a finished array (a matrix product, a sum, another shape) lies on the
next. Levels grow along every path that leaves a pass, so passes of one level can never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bpengine_steps.grouping import merged
from bpengine_steps.ir import Node

from bpengine_numpy.numba_target.expressions import template


@dataclass(eq=False)
class Unit:
    """One call of the program: a fused pass over `nodes`, or a single other operation."""

    nodes: list[Node] = field(default_factory=list)
    fused: bool = False

    @property
    def reads(self) -> list[Node]:
        """Arrays that the unit needs in memory, views as they are; a constant of one value is part of the code."""
        own = {node.number for node in self.nodes}
        found = {n.number: n for node in self.nodes for n in node.inputs if n.number not in own}
        return [n for n in found.values() if not (self.fused and n.uniform is not None)]

    @property
    def sums(self) -> list[Node]:
        """The sums over the batch that a pass takes on its way."""
        return [node for node in self.nodes if self.fused and node.op == "reduce"]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that a pass runs over."""
        return next((n.shape for n in self.nodes if n.op == "ufunc"), self.nodes[0].inputs[0].shape)


def is_elementwise(node: Node) -> bool:
    """Say whether the node is computed element by element inside a fused pass."""
    return node.op == "ufunc" and template(node.info, node.dtype.kind, node.inputs[0].dtype.kind) is not None


def sums_batch(node: Node) -> bool:
    """Say whether the node is a sum over the first of two axes: row after row, as NumPy adds it, so it joins a pass."""
    return node.op == "reduce" and node.info == ("add", "first")


def units(nodes: Sequence[Node]) -> list[Unit]:
    """Cut the nodes of a step, given in the order they were made, into units."""
    levels = _levels(nodes)
    home: dict[int, Unit] = {}
    for node in nodes:
        if node.op in ("input", "constant", "view"):
            continue
        unit = Unit(fused=is_elementwise(node) or sums_batch(node))
        if unit.fused:
            near = [n for n in node.inputs if _joins(n, node) and levels[n.number] == levels[node.number]]
            unit = merged([home[n.number] for n in near], home) or unit
        unit.nodes.append(node)
        home[node.number] = unit
    return list(dict.fromkeys(home.values()))


def _joins(producer: Node, consumer: Node) -> bool:
    """Say whether `consumer` can take the producer's elements one by one, as they are computed."""
    if not is_elementwise(producer):
        return False
    return sums_batch(consumer) or (is_elementwise(consumer) and consumer.shape == producer.shape)


def _levels(nodes: Sequence[Node]) -> dict[int, int]:
    level = {node.number: 0 for node in nodes}
    for node in reversed(nodes):
        for given in node.inputs:
            cost = 0 if _joins(given, node) or node.op == "view" else 1
            level[given.number] = min(level[given.number], level[node.number] - cost)
    for node in nodes:  # a sum over the batch is taken in the pass that makes what it adds
        if sums_batch(node) and is_elementwise(node.inputs[0]):
            level[node.number] = level[node.inputs[0].number]
    return level
