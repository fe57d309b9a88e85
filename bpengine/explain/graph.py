"""The computational graph of a step: kernel calls as nodes, arrays as edges, forward and backward; as DOT, Mermaid or SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.trace import Trace
from bpengine.explain.words import shown
from bpengine.ops import Call

SMALL = 6  # arrays of so many numbers are shown with their values
Phase = Literal["forward", "backward", "update"]


@dataclass(frozen=True)
class Node:
    """One kernel call, or an array that was given (kind "given").

    formula: what it computes, or the shape and values of a given array. column, row: where it stands: forward calls from
    left to right in row 0, each backward call below its forward in row 1, penalties and updates in row 2, given arrays
    above in row -1.
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
        from bpengine.explain.drawing import dot

        return dot(self)

    def mermaid(self) -> str:
        """Return the graph for Mermaid."""
        from bpengine.explain.drawing import mermaid

        return mermaid(self)

    def svg(self) -> str:
        """Return the graph as a picture of its own, laid out here."""
        from bpengine.explain.svg import svg

        return svg(self)

    def to_json(self) -> dict[str, Any]:
        """Return nodes and edges as plain values."""
        return {"title": self.title, "nodes": [vars(n) for n in self.nodes], "edges": [vars(e) for e in self.edges]}

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per edge."""
        return [dict(vars(edge)) for edge in self.edges]


def graph(model: Any, x: Any, y: Any, *, weights: Any = None, update: bool = False) -> Graph:
    """Return the computational graph of a training step, with `update` also that of the parameters' update."""
    return graph_of(model.trace(x, y, weights), update=update)


def graph_of(traced: Trace, *, update: bool = False) -> Graph:
    """Return the computational graph of a step that was traced already."""
    chosen = [i for i, call in enumerate(traced.calls) if _drawn(call, update)]
    columns = _columns(traced, chosen)
    nodes = [_node(traced, i, columns[i]) for i in chosen]
    by_id = {node.id: node for node in nodes}
    parameters = {id(array) for array in traced.parameters.values()}
    makers: dict[int, str] = {}
    edges: list[Edge] = []
    given: dict[str, Node] = {}
    for i in chosen:
        call, here = traced.calls[i], by_id[f"n{i}"]
        if i in traced.partners and f"n{traced.partners[i]}" in by_id:
            edges.append(Edge(f"n{traced.partners[i]}", here.id, "residual", (), "", kept=True))
        for name, array in _taken(traced, i, call):
            if here.row == 2 and id(array) in parameters:
                continue  # the node says which parameter it is about
            start = makers.get(id(array))
            if start is None:
                start = makers[id(array)] = f"g{len(given)}"
                given[start] = _given(traced, array, name, here, start)
            edges.append(Edge(start, here.id, name, array.shape, _values(array)))
        for array in call.named_results().values():
            makers[id(array)] = here.id
    sizes = "-".join(map(str, traced.network.sizes))
    title = f"{sizes}, {traced.network.loss.name}, {traced.rows} row(s), loss {shown(traced.loss, 6)}"
    return Graph((*given.values(), *nodes), tuple(edges), title)


def _drawn(call: Call, update: bool) -> bool:
    return call.kernel.kind != "helper" and (update or call.kernel.kind != "update")


def _taken(traced: Trace, position: int, call: Call) -> Iterator[tuple[str, HostArray]]:
    """Yield the arrays that are drawn as going into a call: a backward's gradient; an update's parameter and gradient."""
    names = call.kernel.arguments
    if call.function.endswith("_bwd"):
        if call.kernel.outputs != ("loss",):
            yield "dy", call.args[1]
        return
    for name, array in zip(names, call.args, strict=False):
        if (
            array is not None
            and name not in ("t", "lr", "counter")
            and (call.kernel.kind != "update" or name in ("w", "dw"))
        ):
            yield name, array


def _columns(traced: Trace, chosen: list[int]) -> dict[int, int]:
    """Return each call's column.

    Forward calls follow each other; a backward call stands in its forward's column. The sum of two ways back has no
    forward and gets a column left of the last way. What is done to a parameter (penalty, update) stands where it was used.
    """
    calls, partners = traced.calls, traced.partners
    order = [i for i in chosen if i < traced.turn]
    last = order[0]
    for i in (i for i in chosen if i >= traced.turn):
        if i in partners and partners[i] in order:
            last = partners[i]
        elif i not in partners and calls[i].place[:1].isdigit():
            order.insert(order.index(last), i)
            last = i
    columns = {i: k for k, i in enumerate(order)}
    makers = {id(a): i for i in chosen for a in calls[i].named_results().values()}
    users = {id(a): i for i in reversed(order) for a in calls[i].args if hasattr(a, "shape")}
    for i in (i for i in chosen if i not in columns):
        if i in partners:
            columns[i] = columns[partners[i]]
            continue
        first = calls[i].args[0]
        columns[i] = columns[makers[id(first)] if id(first) in makers else users[id(first)]]
    return columns


def _node(traced: Trace, position: int, column: int) -> Node:
    call = traced.calls[position]
    phase: Phase = "update" if not call.place else "forward" if _ahead(traced, position) else "backward"
    aside = call.place in ("", "penalty")
    formula = tuple(f"{n} = {call.kernel.formula[n]}" for n in call.named_results() if n in call.kernel.formula)
    place = f"layer {call.place}" if call.place[:1].isdigit() else call.place
    about = next((n for n, a in traced.parameters.items() if any(a is arg for arg in call.args)), "")
    if aside and about:
        place = f"{place or 'update'} of {about}"
    row = 2 if aside else {"forward": 0, "backward": 1}[phase]
    return Node(f"n{position}", "call", phase, call.function, place, formula, column, row)


def _ahead(traced: Trace, position: int) -> bool:
    call = traced.calls[position]
    return position < traced.turn or (position not in traced.partners and np.shape(call.result[0]) == ())


def _given(traced: Trace, array: HostArray, name: str, user: Node, number: str) -> Node:
    """Return the node of an array that no call made: an input or a parameter, by its own name, with shape and values."""
    known: Mapping[int, str] = {
        id(traced.x): "x", id(traced.target): "target", id(traced.weights): "weights",
        **{id(a): n for n, a in traced.parameters.items()},
    }  # fmt: skip
    title = known.get(id(array), name)
    lines = (" x ".join(map(str, array.shape)) or "1", *([_values(array)] if _values(array) else []))
    return Node(number, "given", user.phase, title, user.place, lines, user.column, -1)


def _values(array: HostArray) -> str:
    """Return a small array's values, "" for a larger one's."""
    if array.size > SMALL or array.dtype.kind not in "fiu":
        return ""
    rows = np.atleast_2d(array).astype(float).tolist()
    text = "; ".join(" ".join(shown(v, 3) for v in row) for row in rows)
    return f"[{text}]"
