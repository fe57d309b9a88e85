"""Lowering: a recorded step rewritten so that a GPU can add up over rows.

A reduction over the first axis or over everything becomes two nodes: "partial", one line of results per block of rows,
which joins the pass that makes the summands, and "finish", which joins the pass that uses the result. There are no
atomics, so the same data give the same bits each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bpengine_steps.ir import Graph, Node, Unrecordable, needed
from bpengine_steps.recorded import RecordedStep

LINES = 264  # lines of partial results at most: two blocks for each multiprocessor of a Hopper GPU
WHOLE = (("add", "first"), ("add", "all"))  # sums over all rows, of several columns or of one
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
        if node.number in new:
            continue
        if product := _product(node):
            x, dy = product
            turned = graph.add("view", [new[x.number]], x.shape[::-1], x.dtype, (0, (1, x.shape[1])))
            new[node.number] = graph.add("matmul", [turned, new[dy.number]], node.shape, node.dtype)
        elif summands := _summed(node):
            new[node.number] = _two_stages(graph, node, new[summands.number], wide)
        else:
            new[node.number] = _lowered(graph, node, [new[given.number] for given in node.inputs], wide)

    def moved(nodes: dict[Any, Node]) -> dict[Any, Node]:
        return {key: new[node.number] for key, node in nodes.items()}

    rows = tuple(new[node.number] for node in step.rows)
    lowered = RecordedStep(
        graph, moved(step.inputs), rows, new[step.rate.number], moved(step.changed), moved(step.reports)
    )
    for node in needed(lowered.outputs):
        if (node.op == "reduce" and node.info[1] == "middle") or (node.op == "matmul" and len(node.shape) > 2):
            raise Unrecordable(f"a {node.op} of {node.inputs[0].shape} in blocks")
    return lowered


def _summed(node: Node) -> Node | None:
    """Return the rows that a sum of sums of blocks of rows adds up; None for any other reduction.

    A GPU's sums have two stages of their own, so blocks that are there for NumPy's sake are taken apart again.
    """
    if node.op != "reduce" or node.info not in WHOLE:
        return None
    lines, rows = node.inputs[0].base, None
    while found := _blocks(lines):
        lines = rows = found
    return rows


def _blocks(lines: Node) -> Node | None:
    """Return the array whose blocks of rows were summed to these lines, the last of which may be of fewer rows."""
    looks = [_summands(part) for part in (lines.inputs if lines.op == "concat" and lines.info == 0 else (lines,))]
    rows = looks[0].base
    return rows if rows is not lines and _covers(looks, rows) else None


def _summands(line: Node) -> Node:
    """Return the block of rows that a line, or several, is the sum of; a line that is no sum stands for itself."""
    made = line.base
    if made.op != "reduce" or made.info[0] != "add" or made.size != line.size:
        return line
    given = made.inputs[0]
    return line if made.info[1] == "last" and given.base is given else given  # that is a sum along a row


def _product(node: Node) -> tuple[Node, Node] | None:
    """Return x and dy of a node that is x.T @ dy, added up over blocks of rows; None where it is something else."""
    total, *rest = node.inputs if node.op == "ufunc" and node.info == "add" else (node,)
    if total.op != "view" or total.size != node.size:
        return None
    made = total.base
    if made.op == "reduce" and made.info in WHOLE:
        made = made.inputs[0].base
        while found := _blocks(made):
            made = found
    products = [made, *rest]
    if made.op != "matmul" or len(made.shape) != 3 or any(p.op != "matmul" for p in rest):
        return None
    x, dy = (given.base for given in made.inputs)
    pairs = zip(*(p.inputs for p in products), strict=True)
    complete = all(_covers(parts, whole) for parts, whole in zip(pairs, (x, dy), strict=True))
    return (x, dy) if complete and len(x.shape) == len(dy.shape) == 2 else None


def _covers(parts: Sequence[Node], whole: Node) -> bool:
    """Say whether looks at an array, one behind the other, take in all of it."""
    begins = [sum(part.size for part in parts[:k]) for k in range(len(parts))]
    own = all(part.base is whole and part.offset == begin for part, begin in zip(parts, begins, strict=True))
    return own and sum(part.size for part in parts) == whole.size


def _lowered(graph: Graph, node: Node, inputs: list[Node], wide: set[int]) -> Node:
    if node.op == "constant":
        return graph.constant(node.info, node.dtype)
    if node.op == "reduce" and node.info[1] not in ("last", "middle"):
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
