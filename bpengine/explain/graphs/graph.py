"""The computational graph of a step: kernel calls as nodes, arrays as edges, forward and backward; as DOT, Mermaid or SVG."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from bpengine.visible import visible

Phase = Literal["forward", "backward", "update"]


@dataclass(frozen=True)
class Node:
    """One kernel call, or an array that was given (kind "given").

    formula: what it computes, and shape and values of a result that no node takes; or those of a given array. column, row:
    where it stands: forward calls from left to right in row 0, each backward call below its forward in row 1, penalties and
    updates in row 2, given arrays above in row -1.
    """

    id: str
    kind: Literal["call", "given"]
    phase: Phase
    title: str
    place: str
    formula: tuple[str, ...]
    column: int
    row: int


@dataclass(frozen=True)
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
class Graph:
    """The computational graph of one training step."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    title: str

    def dot(self) -> str:
        """Return the graph for Graphviz."""
        from bpengine.explain.graphs.dot_mermaid import dot

        return dot(self._seen())

    def mermaid(self) -> str:
        """Return the graph for Mermaid."""
        from bpengine.explain.graphs.dot_mermaid import mermaid

        return mermaid(self._seen())

    def svg(self) -> str:
        """Return the graph as a picture of its own, laid out here."""
        from bpengine.explain.graphs.svg import svg

        return svg(self._seen())

    def _seen(self) -> Graph:
        """Return the graph with names in which everything can be seen: XML has no control characters at all."""
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

    def to_json(self) -> dict[str, Any]:
        """Return nodes and edges as plain values."""
        return {"title": self.title, "nodes": [vars(n) for n in self.nodes], "edges": [vars(e) for e in self.edges]}

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per edge."""
        return [dict(vars(edge)) for edge in self.edges]


def graph(model: Any, x: Any, y: Any, *, weights: Any = None, update: bool = False, lang: str = "en") -> Graph:
    """Return the computational graph of a training step, with `update` also that of the parameters' update.

    lang: "en" or "pt", of the words in it; formulas and the names of kernels and parameters stay as they are.
    """
    from bpengine.explain.graphs.build import graph_of

    return graph_of(model.trace(x, y, weights), update=update, lang=lang)
