"""Lowering: a recorded step rewritten so that a GPU can add up over rows.

A reduction over the first axis or over everything becomes two nodes: "partial", one line of results per block of rows,
which joins the pass that makes the summands, and "finish", which joins the pass that uses the result. There are no
atomics, so the same data give the same bits each time.
"""

from __future__ import annotations

from typing import Any

from bpengine_steps.ir import Graph, Node, needed
from bpengine_steps.recorded import RecordedStep

LINES = 264  # lines of partial results at most: two blocks for each multiprocessor of a Hopper GPU
WIDE = 256  # from this width on a row takes a block of threads


def axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the lengths that are not 1."""
    return tuple(n for n in shape if n != 1)


def line_count(rows: int, wide: bool) -> int:
    """Return the number of lines of partial results: blocks of at least 8 rows, or 2 where a row takes a whole block."""
    return max(1, min(-(-rows // (2 if wide else 8)), LINES))


def lower(step: RecordedStep) -> RecordedStep:
    """Return the step with every reduction over rows in two stages."""
    old = needed(step.outputs)
    # fixed here for each number of rows, so that all sums of a pass agree
    wide = {n.shape[0] for n in old if len(axes(n.shape)) == 2 and n.shape[-1] > WIDE and n.op in ("ufunc", "reduce")}
    graph = Graph(step.graph.inline)
    new: dict[int, Node] = {}
    for node in [*step.inputs.values(), *step.rows, step.rate]:
        new[node.number] = graph.add("input", (), node.shape, node.dtype, node.info)
    for node in old:
        if node.number not in new:
            new[node.number] = _lowered(graph, node, [new[given.number] for given in node.inputs], wide)

    def moved(nodes: dict[Any, Node]) -> dict[Any, Node]:
        return {key: new[node.number] for key, node in nodes.items()}

    rows = tuple(new[node.number] for node in step.rows)
    return RecordedStep(
        graph, moved(step.inputs), rows, new[step.rate.number], moved(step.changed), moved(step.reports)
    )


def _lowered(graph: Graph, node: Node, inputs: list[Node], wide: set[int]) -> Node:
    if node.op == "constant":
        return graph.constant(node.info, node.dtype)
    if node.op == "reduce" and node.info[1] != "last":
        return _two_stages(graph, node, inputs[0], wide)
    return graph.add(node.op, inputs, node.shape, node.dtype, node.info)


def _two_stages(graph: Graph, node: Node, summands: Node, wide: set[int]) -> Node:
    ufunc, how = node.info
    rows, width = summands.shape[0], 1
    if how == "first":
        width = summands.shape[1]
    elif len(axes(summands.base.shape)) == 2:
        rows = summands.base.shape[0]
    else:
        rows = summands.size
    lines = line_count(rows, rows in wide)
    partial = graph.add("partial", [summands], (lines, width), node.dtype, (ufunc, how))
    return graph.add("finish", [partial], node.shape, node.dtype, ufunc)
