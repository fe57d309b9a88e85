"""Fused loops: a pass over memory written out as code, compiled by Numba and kept on disk.

The code depends on the operations and on how each operand lies in memory, not on sizes, addresses or numbers such as a rate
or 1 / batch, which it reads from a table: layers, networks, settings and batch sizes share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import numpy as np
from bpengine_steps.access import FULL, ONE, ROW, AccessPattern, access
from bpengine_steps.ir import DType, FusionGroup, HostArray, StepNode, Untraceable, axes
from bpengine_steps.memory_plan import MemoryPlan

from bpengine_numpy.numba_target import blas_threads
from bpengine_numpy.numba_target.expressions import template
from bpengine_numpy.numba_target.object_code.loop_cache import addresses, on_disk
from bpengine_numpy.numba_target.table_layout import ITEM

__all__ = ["Block", "Loop", "compiled", "on_disk"]

_HEAD = """import math

import numpy as np
from numba import carray

from bpengine_numpy.numba_target.native_functions import address


def loop(p):
    R, C, N = p[0], p[1], p[2]
"""
_TAIL = """

FUNCTIONS = (loop,)
"""
AHEAD = (
    4  # arguments before the arrays: rows of the block, length of a whole row, columns of the block, the loop's numbers
)
_SHIFTS = ("right_shift", "left_shift")  # by a number that is known the code is faster; it is a part of the mathematics


class Block(NamedTuple):
    """A part of a pass that is computed by itself."""

    row: int
    rows: int
    column: int
    columns: int


@dataclass(kw_only=True)
class Loop:
    """A pass as code, and what its arguments are: see AHEAD, then the memory of each node in `arrays`."""

    group: FusionGroup
    memory: MemoryPlan
    rows: int = 1
    columns: int = 1
    arrays: list[StepNode] = field(default_factory=list)
    source: str = ""
    numbers: HostArray = field(init=False)  # what the code reads by the last of the arguments AHEAD

    def __post_init__(self) -> None:
        self._sums = [node for node in self.group.nodes if node.op == "reduce"]
        whole = (n.shape for n in self.group.nodes if n.op == "ufunc")
        self._shape = next(whole, self.group.nodes[0].inputs[0].shape)
        self.rows, self.columns = self._lines()
        self._names: dict[int, str] = {}
        self._patterns: list[AccessPattern] = []
        self._numbers: dict[tuple[str, bytes], str] = {}
        body = self._body()
        before = [f"    a{k} = {self._declaration(k)}" for k in range(len(self.arrays))]
        before += [
            f"    {name} = carray(address(p[{AHEAD - 1}] + {k * ITEM}), 1, {kind})[0]"
            for k, ((kind, _), name) in enumerate(self._numbers.items())
        ]
        self.numbers = np.frombuffer(b"".join(bits for _, bits in self._numbers) or bytes(ITEM), np.int64)
        zeros = [f"        {self._names[s.number]}[j] = 0" for s in self._sums]
        first = ["    for j in range(N):", *zeros] if zeros else []
        lines = [*before, *first, "    for i in range(R):", "        for j in range(N):", *body]
        self.source = _HEAD + "\n".join(lines) + _TAIL

    def blocks(self, most: int) -> list[Block]:
        """Cut the pass into at most so many blocks of about equal size; sums over the rows keep theirs together."""
        sizes = (n.dtype.itemsize for n, pattern in zip(self.arrays, self._patterns, strict=True) if pattern == FULL)
        moved = self.rows * self.columns * sum(sizes)
        if self.rows == 1 or self._sums:
            pieces = blas_threads.pieces(self.columns, moved, most, blas_threads.GRAIN)
            return [Block(0, self.rows, first, length) for first, length in pieces]
        return [Block(first, length, 0, self.columns) for first, length in blas_threads.pieces(self.rows, moved, most)]

    def arguments(self, block: Block, addresses: Sequence[int]) -> list[int]:
        """Return what the code is called with for a block, given where the arrays begin."""
        operands = zip(self.arrays, self._patterns, addresses, strict=True)
        return [
            block.rows,
            self.columns,
            block.columns,
            self.numbers.ctypes.data,
            *(at + self._shift(pattern, block) * node.dtype.itemsize for node, pattern, at in operands),
        ]

    def _shift(self, pattern: AccessPattern, block: Block) -> int:
        if pattern == FULL:
            return block.row * self.columns + block.column
        return block.row * pattern.down + block.column * pattern.along

    def _lines(self) -> tuple[int, int]:
        """Return the rows and columns that the pass runs over; where nothing depends on the row, one long line."""
        lengths = axes(self._shape)
        if not self._sums and all(access(n, self._shape) in (FULL, ONE) for n in self.group.reads):
            return 1, prod(lengths)
        if len(lengths) > 2:
            raise Untraceable(f"broadcasting in {len(lengths)} dimensions")
        return (lengths[0], lengths[1]) if len(lengths) == 2 else (1, prod(lengths))

    def _declaration(self, k: int) -> str:
        return f"carray(address(p[{k + AHEAD}]), {_extent(self._patterns[k])}, {_type(self.arrays[k].dtype)})"

    def _array(self, node: StepNode, pattern: AccessPattern) -> str:
        self.arrays.append(node)
        self._patterns.append(pattern)
        return f"a{len(self.arrays) - 1}"

    def _body(self) -> list[str]:
        lines, pad, elements = [], " " * 12, dict[int, str]()
        for k, node in enumerate(self.group.reads):
            pattern = access(node, self._shape)
            array, steps = self._array(node, pattern), [self._step(s) for s in (pattern.down, pattern.along)]
            elements[node.number] = f"{array}{_element(pattern, *steps)}"
            self._names[node.number] = f"r{k}"
            lines.append(f"{pad}r{k} = {elements[node.number]}")
        for k, node in enumerate(self.group.nodes):
            if node.op == "reduce":
                self._names[node.number] = self._array(node, ROW)
                lines.append(f"{pad}{self._names[node.number]}[j] += {self._value(node.inputs[0])}")
                continue
            self._names[node.number] = f"v{k}"
            lines.append(f"{pad}v{k} = {_type(node.dtype)}({self._expression(node)})")
        for node in self.group.nodes:
            if node.op == "ufunc" and node.number in self.memory.stored:
                taken = self.memory.shares.get(node.number)
                element = elements[taken.number] if taken else f"{self._array(node, FULL)}[i, j]"
                lines.append(f"{pad}{element} = {self._names[node.number]}")
        return lines

    def _expression(self, node: StepNode) -> str:
        form = template(node.info, node.dtype.kind, node.inputs[0].dtype.kind)
        assert form is not None, node.info
        operands = [self._value(n, known=node.info in _SHIFTS) for n in node.inputs]
        return form.format(*operands, t=_type(node.dtype))

    def _value(self, node: StepNode, *, known: bool = False) -> str:
        """Return the code of an operand; one that is the same for all elements is 0, `known`, or read from the table."""
        if node.number in self._names:
            return self._names[node.number]
        value = node.uniform
        if known or not value:
            return f"{_type(node.dtype)}({value.item()!r})"
        return self._number(_type(node.dtype), value.tobytes())

    def _step(self, elements: int) -> str:
        """Return the code of a step; with 0 and 1 known, several elements are read at once."""
        return str(elements) if elements in (0, 1) else self._number("np.int64", np.int64(elements).tobytes())

    def _number(self, kind: str, bits: bytes) -> str:
        return self._numbers.setdefault((kind, bits.ljust(ITEM, b"\0")), f"k{len(self._numbers)}")


def _extent(pattern: AccessPattern) -> str:
    """Return the shape that the code gives an array."""
    return {"full": "(R, C)", "row": "C", "column": "R"}.get(pattern.name, "1")


def _element(pattern: AccessPattern, down: str, along: str) -> str:
    """Return the code of an element, given that of the steps."""
    known = {"full": "[i, j]", "row": "[j]", "column": "[i]", "one": "[0]"}
    return known.get(pattern.name) or f"[i * {down} + j * {along}]"


def _type(dtype: DType) -> str:
    return "np.bool_" if dtype.kind == "b" else f"np.{dtype.name}"


def compiled(source: str) -> int:
    """Return the address of the compiled loop of a source text."""
    (loop,) = addresses(source)
    return loop
