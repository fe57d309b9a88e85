"""Lowering: a recorded step rewritten for a target.

The target may replace single nodes. Where it sums in two stages, each reduction over the first axis or over
everything becomes two nodes: "partial", one line of results per block of rows, which joins the pass that computes the
summands, and "finish", which joins the pass that uses the result. No atomics: the same data always give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bpengine_steps.ir import RecordedStep, StepGraph, StepNode, axes, needed, summed_shape
from bpengine_steps.target import Target

WHOLE = (("add", "first"), ("add", "all"))  # reductions over all rows, of several columns or of one


def lower(step: RecordedStep, target: Target) -> RecordedStep:
    """Return the step rewritten for `target`; raise Untraceable for an operation that it does not support."""
    graph, new, nodes = StepGraph(), dict[int, StepNode](), needed(step.outputs)
    stages = _TwoStageSums(graph, nodes, target) if target.two_stage_sums else None
    for node in [*step.inputs.values(), *step.rows, step.rate]:
        new[node.number] = graph.add("input", (), node.shape, node.dtype, node.info)
    for node in nodes:
        if node.number not in new:
            inputs = [new[operand.number] for operand in node.inputs]
            rewritten = (stages and stages.lower(node, new)) or target.lower(graph, node, inputs)
            new[node.number] = rewritten or _same(graph, node, inputs)

    def moved(nodes: dict[Any, StepNode]) -> dict[Any, StepNode]:
        return {key: new[node.number] for key, node in nodes.items()}

    rows = tuple(new[node.number] for node in step.rows)
    changed, reports = moved(step.changed), moved(step.reports)
    lowered = RecordedStep(
        inputs=moved(step.inputs), rows=rows, rate=new[step.rate.number], changed=changed, reports=reports
    )
    for node in needed(lowered.outputs):
        target.require(node)
    return target.finished(lowered)


def product_of_one_term(graph: StepGraph, left: StepNode, right: StepNode) -> StepNode:
    """Return a product of inner length 1 as elementwise operations, for targets that compute it in a pass.

    A product adds its single term to 0, which turns -0 into 0.
    """
    shape, dtype = (left.shape[0], right.shape[1]), left.dtype
    terms = graph.add("ufunc", [left, right], shape, dtype, "multiply")
    return graph.add("ufunc", [terms, graph.constant(dtype.type(0))], shape, dtype, "add")


def _same(graph: StepGraph, node: StepNode, inputs: Sequence[StepNode]) -> StepNode:
    if node.op == "constant":
        return graph.constant(node.info, node.dtype)
    return graph.add(node.op, inputs, node.shape, node.dtype, node.info)


class _TwoStageSums:
    """Splits the reductions of a step, whose nodes are given, into stages.

    Kernels sum many rows block by block, for libraries that add one row after another. Sums in two stages have their own
    blocks, so a sum of sums of blocks is turned back into the sum of all their rows.
    """

    def __init__(self, graph: StepGraph, nodes: Sequence[StepNode], target: Target) -> None:
        self._graph, self._target = graph, target
        # the widest array for each number of rows decides, so that all sums of a pass agree on their lines
        self._widest: dict[int, int] = {}
        for node in nodes:
            if len(axes(node.shape)) == 2 and node.op in ("ufunc", "reduce"):
                self._widest[node.shape[0]] = max(node.shape[-1], self._widest.get(node.shape[0], 1))

    def lower(self, node: StepNode, new: dict[int, StepNode]) -> StepNode | None:
        """Return the replacement of a node; `new` holds those of earlier nodes; None for a node that is no such reduction."""
        # Blocks are for libraries that add one row after another; a sum in two stages needs none.
        if product := _product_of_blocks(node):
            x, dy = product
            turned = self._graph.add("view", [new[x.number]], x.shape[::-1], x.dtype, (0, (1, x.shape[1])))
            return self._graph.add("matmul", [turned, new[dy.number]], node.shape, node.dtype)
        if rows := _sum_of_blocks(node):
            return self._split(node, new[rows.number])
        if node.op == "reduce" and node.info[1] not in ("last", "middle"):
            return self._split(node, new[node.inputs[0].number])
        return None

    def _split(self, node: StepNode, summands: StepNode) -> StepNode:
        ufunc, how = node.info
        rows, width = summands.shape[0], 1
        if how == "first":
            width = summands.shape[1]
        elif len(shape := summed_shape(summands)) == 2:
            rows = shape[0]
        else:
            rows = summands.size
        lines = self._target.sum_lines(rows, self._widest.get(rows, 1))
        partial = self._graph.add("partial", [summands], (lines, width), node.dtype, (ufunc, how))
        return self._graph.add("finish", [partial], node.shape, node.dtype, ufunc)


def _sum_of_blocks(node: StepNode) -> StepNode | None:
    """Return the rows that a sum of sums of blocks of rows covers; None for any other node."""
    if node.op != "reduce" or node.info not in WHOLE:
        return None
    lines, rows = node.inputs[0].base, None
    while blocks := _blocks(lines):
        lines = rows = blocks
    return rows


def _blocks(lines: StepNode) -> StepNode | None:
    """Return the array whose blocks of rows are summed to these lines; the last block may have fewer rows."""
    looks = [_summands(part) for part in (lines.inputs if lines.op == "concat" and lines.info == 0 else (lines,))]
    rows = looks[0].base
    return rows if rows is not lines and _covers(looks, rows) else None


def _summands(line: StepNode) -> StepNode:
    """Return the block of rows whose sum a line, or several lines, is; for a line that is not a sum, the line itself."""
    reduction = line.base
    if reduction.op != "reduce" or reduction.info[0] != "add" or reduction.size != line.size:
        return line
    summed = reduction.inputs[0]
    return line if reduction.info[1] == "last" and summed.base is summed else summed  # this is a sum along a row


def _product_of_blocks(node: StepNode) -> tuple[StepNode, StepNode] | None:
    """Return x and dy of a node that is x.T @ dy, summed over blocks of rows; None for any other node."""
    total, *rest = node.inputs if node.op == "ufunc" and node.info == "add" else (node,)
    if total.op != "view" or total.size != node.size:
        return None
    product = total.base
    if product.op == "reduce" and product.info in WHOLE:
        product = product.inputs[0].base
        while blocks := _blocks(product):
            product = blocks
    products = [product, *rest]
    if product.op != "matmul" or len(product.shape) != 3 or any(p.op != "matmul" for p in rest):
        return None
    x, dy = (operand.base for operand in product.inputs)
    pairs = zip(*(p.inputs for p in products), strict=True)
    complete = all(_covers(parts, whole) for parts, whole in zip(pairs, (x, dy), strict=True))
    return (x, dy) if complete and len(x.shape) == len(dy.shape) == 2 else None


def _covers(parts: Sequence[StepNode], whole: StepNode) -> bool:
    """Tell whether views of an array, one after the other, cover all of it."""
    begins = [sum(part.size for part in parts[:k]) for k in range(len(parts))]
    own = all(part.base is whole and part.offset == begin for part, begin in zip(parts, begins, strict=True))
    return own and sum(part.size for part in parts) == whole.size
