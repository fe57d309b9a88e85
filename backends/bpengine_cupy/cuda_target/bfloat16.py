"""Operands of products in bfloat16: each array that a product reads is also stored in two bytes, where it is computed.

A pass stores an activation twice, an update stores a weight twice, and the head rounds the rows that it gathers. So a product
reads half the bytes, and the sums, updates and master weights stay float32. A weight's copy is a hidden state: a kernel before
a run creates it, and the last launch of each step updates it. NumPy has no such dtype: copies are bits of dtype "u2".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from bpengine_steps.ir import HostArray, Path, RecordedStep, StepGraph, StepNode, needed

ROUND = "bfloat16"  # the operation
COPY = "bfloat16 of"  # the first word of the path of a copy in the state; the path of the original follows
BITS = np.dtype("u2")


def rounded(x: HostArray) -> HostArray:
    """Return float32 numbers as the bits of the nearest bfloat16, ties to even; NaN stays NaN.

    >>> import numpy as np
    >>> [hex(bits) for bits in rounded(np.array([1.0, 1.00390625, 1.01171875], np.float32))]
    ['0x3f80', '0x3f80', '0x3f82']
    """
    bits = np.ascontiguousarray(x).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(x), bits >> 16 | 0x40, nearest).astype(BITS)


def exact(bits: HostArray) -> HostArray:
    """Return bits of bfloat16 as float32, which holds every one of them."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def with_rounded_operands(step: RecordedStep) -> RecordedStep:
    """Return a lowered step whose products of float32 read copies in bfloat16."""
    return _Rounding(step).step


class _Rounding:
    def __init__(self, step: RecordedStep) -> None:
        self._graph, self._new = StepGraph(), dict[int, StepNode]()
        self._inputs: dict[Path, StepNode] = {}  # copies of the state's arrays
        self._rows: dict[int, StepNode] = {}  # copies of the step's rows
        nodes = {n.number: n for n in (*step.inputs.values(), *step.rows, step.rate, *needed(step.outputs))}
        for node in nodes.values():
            self._new[node.number] = self._moved(node)
        changed = {path: self._new[node.number] for path, node in step.changed.items()}
        copies = {path: self._round(changed[path[1:]]) for path in self._inputs if path[1:] in changed}
        self.step = replace(
            step,
            inputs={path: self._new[node.number] for path, node in step.inputs.items()} | self._inputs,
            rows=tuple(self._new[node.number] for node in step.rows),
            rate=self._new[step.rate.number],
            changed=changed | copies,
            reports={name: self._new[node.number] for name, node in step.reports.items()},
            rounded_rows=self._rows,
        )

    def _moved(self, node: StepNode) -> StepNode:
        inputs = [self._new[operand.number] for operand in node.inputs]
        if node.op == "constant":
            return self._graph.constant(node.info, node.dtype)
        if node.op == "matmul" and node.dtype == np.float32:
            inputs = [self._operand(operand) for operand in inputs]
        return self._graph.add(node.op, inputs, node.shape, node.dtype, node.info)

    def _operand(self, node: StepNode) -> StepNode:
        """Return a product's operand, or a view of one, in bfloat16."""
        copy = self._copy(node.base)
        return copy if node.op != "view" else self._graph.add("view", [copy], node.shape, BITS, node.info)

    def _copy(self, node: StepNode) -> StepNode:
        if node.op == "constant":
            return self._graph.constant(rounded(np.asarray(node.info, np.float32)))
        if node.op == "concat":  # concatenated from parts that are stored rounded
            return self._graph.add("concat", [self._operand(part) for part in node.inputs], node.shape, BITS, node.info)
        if node.op != "input":
            return self._round(node)
        kind, place = node.info
        info: Any = (kind, (COPY, *place) if kind == "state" else (COPY, place))
        copy = self._graph.add("input", (), node.shape, BITS, info)
        if kind == "state":
            self._inputs[info[1]] = copy
        else:
            self._rows[place] = copy
        return copy

    def _round(self, node: StepNode) -> StepNode:
        return self._graph.add("ufunc", [node], node.shape, BITS, ROUND)
