"""Rows in a pass: which row reductions a pass can include, and the row length that each number per row belongs to.

A row's sum has NumPy's bits only in NumPy's order, which NumPy does not document. So each length is tested before a pass sums
such rows: if a single bit differs, NumPy's loop is called.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from bpengine_steps.ir import DType, HostArray, StepNode, axes, in_order

from bpengine.system.quiet import Quiet

LONGEST = 128  # the most elements of a row: NumPy sums longer ones in halves
LANES = 8  # number of partial sums that NumPy keeps in parallel
# the most bytes of an array whose rows are reduced in a pass; larger arrays are divided among threads, pass by pass
LARGEST = 2**17
# the most columns with which a pass always processes a row at a time: a loop over so few is mostly overhead
NARROW = 16
TRIED = 64  # rows of a test


def takes_row(node: StepNode) -> bool:
    """Tell whether a pass can reduce the rows of its operand with NumPy's bits."""
    if node.op != "reduce" or node.info not in (("add", "last"), ("maximum", "last")):
        return False
    (source,), (ufunc, _) = node.inputs, node.info
    known = node.dtype.kind == "f" and node.dtype.itemsize in (4, 8) and node.dtype.isnative
    fits = len(source.shape) == 2 and 1 < source.shape[1] <= LONGEST and source.shape[0] > 1 and in_order(source)
    if not known or not fits or source.size * source.dtype.itemsize > LARGEST:
        return False
    return ufunc == "maximum" or adds_in_this_order(node.dtype, source.shape[1])


@cache
def adds_in_this_order(dtype: DType, length: int) -> bool:
    """Sum rows of very different numbers, with zeros and infinities, in this order; compare every bit with NumPy's sums."""
    draw = np.random.default_rng(length)
    rows = (draw.normal(size=(TRIED, length)) * 10.0 ** draw.integers(-6, 7, (TRIED, length))).astype(dtype)
    rows[draw.random(rows.shape) < 0.1] *= 0.0
    rows[0], rows[1] = -0.0, np.inf
    with Quiet():
        return bool(_row_sums(rows).tobytes() == np.add.reduce(rows, axis=1).tobytes())


def _row_sums(rows: HostArray) -> HostArray:
    """Return the sums of rows in the order of `row_forms.row_sum`."""
    length = rows.shape[1]
    whole = length // LANES * LANES
    total: Any = rows.dtype.type(-0.0)
    if whole:
        lanes = rows[:, :LANES]
        for begin in range(LANES, whole, LANES):
            lanes = lanes + rows[:, begin : begin + LANES]
        while lanes.shape[1] > 1:
            lanes = lanes[:, ::2] + lanes[:, 1::2]
        total = lanes[:, 0]
    for k in range(whole, length):
        total = total + rows[:, k]
    summed: HostArray = total + rows.dtype.type(0.0)
    return summed


class RowWidths:
    """For each node the length of its rows: its number of columns, or that of the rows that its number per row summarises.

    None for nodes without rows: single numbers, and columns read from memory.
    """

    def __init__(self) -> None:
        self._known: dict[StepNode, int | None] = {}

    def of(self, node: StepNode) -> int | None:
        """Return the length of a node's rows."""
        if node in self._known:
            return self._known[node]
        todo = [node]
        while todo:
            now = todo[-1]
            unknown = [n for n in self._sources(now) if n not in self._known] if now not in self._known else []
            if not unknown:
                self._known.setdefault(todo.pop(), self._width(now))
            todo += unknown
        return self._known[node]

    def _sources(self, node: StepNode) -> list[StepNode]:
        """Return the operands that determine the row length of a number per row."""
        if node.op != "ufunc" or len(axes(node.shape)) != 1:
            return []
        return [n.base for n in node.inputs if not n.offset and axes(n.base.shape) == axes(node.shape)]

    def _width(self, node: StepNode) -> int | None:
        lengths = axes(node.shape)
        if node.op == "reduce":
            return node.inputs[0].shape[1] if takes_row(node) else None
        if node.op != "ufunc":
            return None
        if len(lengths) == 2:
            return lengths[1]
        return next((width for n in self._sources(node) if (width := self._known[n]) is not None), None)
