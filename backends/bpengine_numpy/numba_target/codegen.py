"""Fused loops: a unit written out as one pass over memory, compiled by Numba and kept on disk.

The code depends on the operations and on how each operand lies in memory, not on sizes, addresses or numbers such as a rate
or 1 / batch, which it reads from a table: layers, networks, settings and batch sizes share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from bpengine_steps.ir import DType, HostArray, Node, Unrecordable, contiguous

from bpengine_numpy.numba_target import blas_threads
from bpengine_numpy.numba_target.expressions import template
from bpengine_numpy.numba_target.fusion import Unit
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


class Way(NamedTuple):
    """How an array lies along the rows and columns of a pass: what one row or column further means, in elements.

    For "steps" `element` is given the code of both.
    """

    name: str  # "full", "row", "column", "one", or "steps"
    down: int = 0
    along: int = 0

    @property
    def extent(self) -> str:
        """The shape that the code gives the array."""
        return {"full": "(R, C)", "row": "C", "column": "R"}.get(self.name, "1")

    def element(self, down: str, along: str) -> str:
        """Return the code of an element, given that of the steps."""
        known = {"full": "[i, j]", "row": "[j]", "column": "[i]", "one": "[0]"}
        return known.get(self.name) or f"[i * {down} + j * {along}]"


_FULL, _ROW, _COLUMN, _ONE = Way("full"), Way("row", 0, 1), Way("column", 1, 0), Way("one")


class Block(NamedTuple):
    """A part of a pass that is computed by itself."""

    row: int
    rows: int
    column: int
    columns: int


@dataclass
class Loop:
    """A unit's code, and what its arguments are: see AHEAD, then the memory of each node in `arrays`."""

    unit: Unit
    stored: set[int]  # numbers of the nodes that others need in memory
    shares: dict[int, Node]  # number of a stored node -> the operand whose memory it takes over
    rows: int = 1
    columns: int = 1
    arrays: list[Node] = field(default_factory=list)
    source: str = ""
    numbers: HostArray = field(init=False)  # what the code reads by the last of the arguments AHEAD

    def __post_init__(self) -> None:
        self.rows, self.columns = self._extent()
        self._names: dict[int, str] = {}
        self._ways: list[Way] = []
        self._numbers: dict[tuple[str, bytes], str] = {}
        body = self._body()
        before = [f"    a{k} = {self._declaration(k)}" for k in range(len(self.arrays))]
        before += [
            f"    {name} = carray(address(p[{AHEAD - 1}] + {k * ITEM}), 1, {kind})[0]"
            for k, ((kind, _), name) in enumerate(self._numbers.items())
        ]
        self.numbers = np.frombuffer(b"".join(bits for _, bits in self._numbers) or bytes(ITEM), np.int64)
        zeros = [f"        {self._names[s.number]}[j] = 0" for s in self.unit.sums]
        first = ["    for j in range(N):", *zeros] if zeros else []
        lines = [*before, *first, "    for i in range(R):", "        for j in range(N):", *body]
        self.source = _HEAD + "\n".join(lines) + _TAIL

    def blocks(self, most: int) -> list[Block]:
        """Cut the pass into at most so many blocks of about equal size; sums over the rows keep theirs together."""
        sizes = (n.dtype.itemsize for n, way in zip(self.arrays, self._ways, strict=True) if way is _FULL)
        moved = self.rows * self.columns * sum(sizes)
        if self.rows == 1 or self.unit.sums:
            found = blas_threads.pieces(self.columns, moved, most, blas_threads.GRAIN)
            return [Block(0, self.rows, first, length) for first, length in found]
        return [Block(first, length, 0, self.columns) for first, length in blas_threads.pieces(self.rows, moved, most)]

    def arguments(self, block: Block, addresses: Sequence[int]) -> list[int]:
        """Return what the code is called with for a block, given where the arrays begin."""
        given = zip(self.arrays, self._ways, addresses, strict=True)
        return [
            block.rows,
            self.columns,
            block.columns,
            self.numbers.ctypes.data,
            *(at + self._shift(way, block) * node.dtype.itemsize for node, way, at in given),
        ]

    def _shift(self, way: Way, block: Block) -> int:
        if way is _FULL:
            return block.row * self.columns + block.column
        return block.row * way.down + block.column * way.along

    def _extent(self) -> tuple[int, int]:
        shape = self.unit.shape
        size = int(np.prod(shape))
        if not self.unit.sums and all(_way(n, shape) in (_FULL, _ONE) for n in self.unit.reads):
            return 1, size  # nothing depends on the row: one long line
        if len(shape) > 2:
            raise Unrecordable(f"broadcasting in {len(shape)} dimensions")
        return (shape[0], shape[1]) if len(shape) == 2 else (1, size)

    def _declaration(self, k: int) -> str:
        return f"carray(address(p[{k + AHEAD}]), {self._ways[k].extent}, {_type(self.arrays[k].dtype)})"

    def _array(self, node: Node, way: Way) -> str:
        self.arrays.append(node)
        self._ways.append(way)
        return f"a{len(self.arrays) - 1}"

    def _body(self) -> list[str]:
        lines, pad = [], " " * 12
        for k, node in enumerate(self.unit.reads):
            way = _way(node, self.unit.shape)
            array = self._array(node, way)
            self._names[node.number] = f"r{k}"
            self._array_of = {**getattr(self, "_array_of", {}), node.number: array}
            element = way.element(self._step(way.down), self._step(way.along))
            lines.append(f"{pad}r{k} = {array}{element}")
        for k, node in enumerate(self.unit.nodes):
            if node.op == "reduce":
                self._names[node.number] = self._array(node, _ROW)
                lines.append(f"{pad}{self._names[node.number]}[j] += {self._value(node.inputs[0])}")
                continue
            self._names[node.number] = f"v{k}"
            lines.append(f"{pad}v{k} = {_type(node.dtype)}({self._expression(node)})")
        for node in self.unit.nodes:
            if node.op == "ufunc" and node.number in self.stored:
                taken = self.shares.get(node.number)
                array = self._array_of[taken.number] if taken else self._array(node, _FULL)
                lines.append(f"{pad}{array}[i, j] = {self._names[node.number]}")
        return lines

    def _expression(self, node: Node) -> str:
        form = template(node.info, node.dtype.kind, node.inputs[0].dtype.kind)
        assert form is not None, node.info
        given = [self._value(n, known=node.info in _SHIFTS) for n in node.inputs]
        return form.format(*given, t=_type(node.dtype))

    def _value(self, node: Node, *, known: bool = False) -> str:
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


def _way(node: Node, shape: tuple[int, ...]) -> Way:
    """Say how an operand lies along rows and columns."""
    missing = len(shape) - len(node.shape)
    steps = (0,) * missing + _moving(node.shape, node.strides)
    if steps == _moving(shape, contiguous(shape)):
        return _FULL
    if not any(steps):
        return _ONE
    if len(shape) != 2:
        raise Unrecordable(f"broadcasting to {shape}")
    down, along = steps
    return {(0, 1): _ROW, (1, 0): _COLUMN}.get((down, along)) or Way("steps", down, along)


def _moving(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, 0 along axes of length 1: nothing moves there."""
    return tuple(0 if n == 1 else s for n, s in zip(shape, strides, strict=True))


def _type(dtype: DType) -> str:
    return "np.bool_" if dtype.kind == "b" else f"np.{dtype.name}"


def compiled(source: str) -> int:
    """Return the address of the compiled loop of a source text."""
    (loop,) = addresses(source)
    return loop
