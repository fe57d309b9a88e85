"""The elements of a computational graph: kernel calls as nodes, arrays as edges, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from bpengine.output.visible import visible

Phase = Literal["forward", "backward", "update"]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One kernel call, or an array that was given (kind "given").

    formula: the call's formula, with shape and values of a result that no node uses; for a given array, its shape and values.
    column, row: its position: forward calls from left to right in row 0, each backward call below its forward in row 1,
    penalties and updates in row 2, given arrays above in row -1.
    """

    id: str
    kind: Literal["call", "given"]
    phase: Phase
    title: str
    place: str
    formula: tuple[str, ...]
    column: int
    row: int


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An array that one node made and another took: its name there, its shape, and the values of a small one.

    kept: what a forward call keeps for its backward call, not an array by itself.
    """

    start: str
    end: str
    name: str
    shape: tuple[int, ...]
    values: str
    kept: bool = False


@dataclass(frozen=True)
class GraphData:
    """The nodes and edges of one training step, and a title."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    title: str

    def with_visible_names(self) -> GraphData:
        """Return the graph with control characters in names replaced by visible ones: XML allows no control characters."""
        nodes = tuple(
            replace(
                n,
                id=visible(n.id),
                title=visible(n.title),
                place=visible(n.place),
                formula=tuple(map(visible, n.formula)),
            )
            for n in self.nodes
        )
        edges = tuple(
            replace(e, start=visible(e.start), end=visible(e.end), name=visible(e.name), values=visible(e.values))
            for e in self.edges
        )
        return replace(self, nodes=nodes, edges=edges, title=visible(self.title))
