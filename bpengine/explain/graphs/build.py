"""Build a graph from a traced step: which calls and arrays are drawn, their positions and their labels."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

import numpy as np

from bpengine.backend import ArrayLike, HostArray
from bpengine.explain.graphs.elements import Edge, Node, Phase
from bpengine.explain.graphs.graph import Graph
from bpengine.explain.result import translator_for
from bpengine.explain.trace.trace import Trace
from bpengine.i18n.translate import Translate, format_number
from bpengine.ops import Call
from bpengine.trained import TrainedNetwork

SMALL = 9  # the most numbers of an array that is shown with its values


def graph(
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    update: bool = False,
    lang: str | None = None,
) -> Graph:
    """Return the computational graph of a training step, with `update` also that of the parameters' update.

    lang: the language of its words, "en" or "pt"; formulas and the names of kernels and parameters are not translated.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), dtype="float64")
    >>> [node.title for node in bp.explain.graph(model, [[2.0]], [[5.0]]).nodes if node.kind == "call"]
    ['dense_fwd', 'identity_fwd', 'mean_squared_error_fwd', 'mean_squared_error_bwd', 'identity_bwd', 'dense_bwd']
    """
    return graph_of(model.trace(x, y, weights), update=update, lang=lang)


def graph_of(traced: Trace, *, update: bool = False, lang: str | None = None) -> Graph:
    """Return the computational graph of a traced step."""
    translate = translator_for(lang)
    chosen = [i for i, call in enumerate(traced.calls) if _drawn(call, update)]
    columns = _columns(traced, chosen)
    taken = {id(array) for i in chosen for _, array in _taken(traced, i, traced.calls[i])}
    nodes = [_node(traced, i, columns[i], taken, translate) for i in chosen]
    by_id = {node.id: node for node in nodes}
    parameters = {id(array) for array in traced.parameters.values()}
    producers: dict[int, str] = {}
    edges: list[Edge] = []
    sources: dict[str, Node] = {}
    for i in chosen:
        call, here = traced.calls[i], by_id[f"n{i}"]
        if i in traced.forward_of and f"n{traced.forward_of[i]}" in by_id:
            edges.append(
                Edge(start=f"n{traced.forward_of[i]}", end=here.id, name="residual", shape=(), values="", kept=True)
            )
        for name, array in _taken(traced, i, call):
            if here.row == 2 and id(array) in parameters:
                continue  # the node names the parameter
            start = producers.get(id(array))
            if start is None:
                start = producers[id(array)] = f"g{len(sources)}"
                sources[start] = _given_node(traced, array, name, here, start)
            edges.append(Edge(start=start, end=here.id, name=name, shape=array.shape, values=_values(array)))
        for array in call.named_results().values():
            producers[id(array)] = here.id
    sizes, loss = "-".join(map(str, traced.network.sizes)), format_number(traced.loss, 6)
    title = translate("graph_title", sizes=sizes, name=traced.network.loss.name, count=traced.rows, loss=loss)
    return Graph((*sources.values(), *nodes), tuple(edges), title)


def _drawn(call: Call, update: bool) -> bool:
    return call.kernel.kind != "helper" and (update or call.kernel.kind != "update")


def _taken(traced: Trace, position: int, call: Call) -> Iterator[tuple[str, HostArray]]:
    """Yield the arrays that are drawn as inputs of a call: a backward's gradient; an update's parameter and gradient."""
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

    Forward calls follow each other; a backward call stands in its forward's column. The sum of two backward branches has no
    forward call and gets a column left of the last of them. A penalty or update of a parameter stands where the parameter is
    used.
    """
    calls, forward_of = traced.calls, traced.forward_of
    order = [i for i in chosen if i < traced.backward_start]
    last = order[0]
    for i in (i for i in chosen if i >= traced.backward_start):
        if i in forward_of and forward_of[i] in order:
            last = forward_of[i]
        elif i not in forward_of and calls[i].place[:1].isdigit():
            order.insert(order.index(last), i)
            last = i
    columns = {i: k for k, i in enumerate(order)}
    producers = {id(a): i for i in chosen for a in calls[i].named_results().values()}
    consumers = {id(a): i for i in reversed(order) for a in calls[i].args if hasattr(a, "shape")}
    for i in (i for i in chosen if i not in columns):
        if i in forward_of:
            columns[i] = columns[forward_of[i]]
            continue
        first = calls[i].args[0]
        columns[i] = columns[producers[id(first)] if id(first) in producers else consumers[id(first)]]
    return columns


def _node(traced: Trace, position: int, column: int, taken: Container[int], translate: Translate) -> Node:
    call = traced.calls[position]
    phase: Phase = "update" if not call.place else "forward" if _ahead(traced, position) else "backward"
    below = call.place in ("", "penalty", "sharing")
    place = translate(f"graph_{'layer' if call.place[:1].isdigit() else call.place or 'update'}", place=call.place)
    about = next((n for n, a in traced.parameters.items() if any(a is arg for arg in call.args)), "")
    if below and about:
        place = translate("graph_of", what=place, parameter=about)
    elif not call.place:
        place = ""
    row = 2 if below else {"forward": 0, "backward": 1}[phase]
    return Node(
        id=f"n{position}", kind="call", phase=phase, title=call.function, place=place,
        formula=tuple(_formula(call, taken)), column=column, row=row,
    )  # fmt: skip


def _formula(call: Call, taken: Container[int]) -> Iterator[str]:
    """Yield the formula of a call, and its results that no edge shows: the loss, the gradients of parameters."""
    for name, array in call.named_results().items():
        if name in call.kernel.formula:
            yield f"{name} = {call.kernel.formula[name]}"
            if id(array) not in taken:
                yield f"({_shape(array)}) {_values(array)}".rstrip()


def _ahead(traced: Trace, position: int) -> bool:
    call = traced.calls[position]
    return position < traced.backward_start or (position not in traced.forward_of and np.shape(call.result[0]) == ())


def _given_node(traced: Trace, array: HostArray, name: str, user: Node, number: str) -> Node:
    """Return the node of an array that no call computed: an input or a parameter, by its name, with shape and values."""
    known: Mapping[int, str] = {
        id(traced.x): "x", id(traced.target): "target", id(traced.weights): "weights",
        **{id(a): n for n, a in traced.parameters.items()},
    }  # fmt: skip
    title = known.get(id(array), name)
    lines = (_shape(array), *([_values(array)] if _values(array) else []))
    return Node(
        id=number, kind="given", phase=user.phase, title=title, place=user.place, formula=lines,
        column=user.column, row=-1,
    )  # fmt: skip


def _shape(array: HostArray) -> str:
    return " x ".join(map(str, np.shape(array))) or "1"


def _values(array: HostArray) -> str:
    """Return a small array's values, "" for a larger one's."""
    if array.size > SMALL or array.dtype.kind not in "fiu":
        return ""
    rows = np.atleast_2d(array).astype(float).tolist()
    text = "; ".join(" ".join(format_number(v, 3) for v in row) for row in rows)
    return f"[{text}]"
