"""Graph: the computational graph of a step, as DOT, Mermaid or SVG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpengine.errors import unknown
from bpengine.explain.graphs import dot_mermaid
from bpengine.explain.graphs.elements import GraphData
from bpengine.explain.graphs.svg import svg
from bpengine.explain.result import ExplainResult
from bpengine.output.rich_form import on_paper
from bpengine.output.writing import PathLike, write_whole


@dataclass(frozen=True)
class Graph(GraphData, ExplainResult):
    """The computational graph of one training step.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), dtype="float64")
    >>> bp.explain.graph(model, [[2.0]], [[5.0]]).dot().splitlines()[0].split()[0]
    'digraph'
    """

    def dot(self) -> str:
        """Return the graph for Graphviz."""
        return dot_mermaid.dot(self.with_visible_names())

    def mermaid(self) -> str:
        """Return the graph for Mermaid."""
        return dot_mermaid.mermaid(self.with_visible_names())

    def to_svg(self) -> str:
        """Return the graph as a self-contained SVG, laid out by the engine."""
        return svg(self.with_visible_names())

    def svg(self) -> str:
        """Return `to_svg()`, which had this name before."""
        return self.to_svg()

    def save(self, path: PathLike) -> None:
        """Write the graph, completely or not at all, in the format of the name's ending: .svg, .dot or .mmd (Mermaid).

        Raises ConfigError for another ending, WriteError for a file that cannot be written.
        """
        forms = {".svg": self.to_svg, ".dot": self.dot, ".mmd": self.mermaid}
        ending = Path(path).suffix.lower()
        if ending not in forms:
            raise unknown("ending of a graph's file", ending, forms)
        write_whole(path, forms[ending]().encode())

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def _html_parts(self) -> Iterator[str]:
        yield on_paper(self.to_svg(), self.title, wide=True)

    def text(self, lang: str | None = None) -> str:
        """Return the title; the words of a graph are in the language that it was made in, whatever `lang` is."""
        return self.title

    def to_dict(self) -> dict[str, Any]:
        """Return nodes and edges as plain values."""
        return {"title": self.title, "nodes": [vars(n) for n in self.nodes], "edges": [vars(e) for e in self.edges]}

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per edge."""
        return [dict(vars(edge)) for edge in self.edges]
