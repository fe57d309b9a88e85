"""Fused loops: a pass over memory as LLVM's instructions, compiled and kept on disk.

The code depends on the operations and on the memory layout of each operand, not on sizes, addresses or numbers such as a
rate or 1 / batch, which it reads from a table: layers, networks, settings and batch sizes share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import numpy as np
from bpengine_steps.access import COLUMN, FULL, ONE, ROW, AccessPattern, access
from bpengine_steps.ir import FusionGroup, HostArray, StepNode, Untraceable, axes
from bpengine_steps.memory_plan import MemoryPlan

from bpengine_numpy.llvm_target import blas_threads
from bpengine_numpy.llvm_target.expressions import template
from bpengine_numpy.llvm_target.loop_text import LoopText, literal
from bpengine_numpy.llvm_target.object_code.loop_cache import addresses
from bpengine_numpy.llvm_target.rows.row_text import RowText
from bpengine_numpy.llvm_target.rows.row_width import NARROW, takes_row
from bpengine_numpy.llvm_target.table_layout import AHEAD, ITEM
from bpengine_numpy.llvm_target.ufunc_loops import strided_loop

# operations that are faster with a constant operand, which is part of the mathematics
_SHIFTS = ("right_shift", "left_shift")


class Block(NamedTuple):
    """A part of a pass that is computed separately."""

    row: int
    rows: int
    column: int
    columns: int


@dataclass(kw_only=True, eq=False)
class Loop:
    """A pass as code, and its arguments: see `arguments`, where the memory of each node in `arrays` comes last."""

    group: FusionGroup
    memory: MemoryPlan
    rows: int = 1
    columns: int = 1
    arrays: list[StepNode] = field(default_factory=list)
    source: str = ""
    numbers: HostArray = field(init=False)  # numbers whose address is the last argument before the arrays

    def __post_init__(self) -> None:
        self._sums = [node for node in self.group.nodes if node.op == "reduce" and not takes_row(node)]
        self._domain = max((axes(_shape(node)) for node in self.group.nodes), key=len)
        self._uses = {(n.number, self._pattern(n, node)): n for node in self.group.nodes for n in self._read(node)}
        self.rows, self.columns = self._lines()
        self._names: dict[int, str] = {}
        self._read_names: dict[tuple[int, AccessPattern], str] = {}
        self._patterns: list[AccessPattern] = []
        self._text = RowText(columns=self.columns) if self._row_by_row() else LoopText()
        self._write()
        self.numbers = np.frombuffer(b"".join(bits for _, bits in self._text.numbers) or bytes(ITEM), np.int64)
        self.source = str(self._text)

    def blocks(self, most: int) -> list[Block]:
        """Cut the pass into at most so many blocks of about equal size, not between rows if it has sums over the rows."""
        sizes = (n.dtype.itemsize for n, pattern in zip(self.arrays, self._patterns, strict=True) if pattern == FULL)
        moved = self.rows * self.columns * sum(sizes)
        if self._sums and isinstance(self._text, RowText):  # whole rows, summed one after another
            return [Block(0, self.rows, 0, self.columns)]
        if self.rows == 1 or self._sums:
            pieces = blas_threads.pieces(self.columns, moved, most, blas_threads.GRAIN)
            return [Block(0, self.rows, first, length) for first, length in pieces]
        return [Block(first, length, 0, self.columns) for first, length in blas_threads.pieces(self.rows, moved, most)]

    @property
    def words(self) -> int:
        """The number of arguments."""
        return AHEAD + len(self.arrays) + 3 * len(self._text.loops)

    def arguments(self, block: Block, addresses: Sequence[int]) -> list[int]:
        """Return the arguments of the code for a block, from the addresses of the arrays."""
        operands = zip(self.arrays, self._patterns, addresses, strict=True)
        return [
            block.rows,
            self.columns,
            block.columns,
            self.numbers.ctypes.data,
            *(at + self._shift(pattern, block) * node.dtype.itemsize for node, pattern, at in operands),
            *(part for ufunc, dtype in self._text.loops for part in strided_loop(ufunc, (dtype, dtype))),
        ]

    def _shift(self, pattern: AccessPattern, block: Block) -> int:
        if pattern == FULL:
            return block.row * self.columns + block.column
        return block.row * pattern.down + block.column * pattern.along

    def _read(self, node: StepNode) -> list[StepNode]:
        """Return the nodes that a node reads from memory."""
        own = self.group.own
        return [n for n in node.inputs if n.base.number not in own and n.uniform is None]

    def _pattern(self, node: StepNode, user: StepNode) -> AccessPattern:
        """Return the access pattern of an operand in the pass; operands of a number per row are read as columns."""
        pattern = access(node, _shape(user))
        if len(self._domain) != 2 or self._wide(user) or pattern == ONE:
            return pattern
        return COLUMN if pattern == FULL else AccessPattern("steps", pattern.along, 0)

    def _wide(self, node: StepNode) -> bool:
        """Tell whether a node is computed for each element, not for each row."""
        return len(axes(_shape(node))) == len(self._domain)

    def _lines(self) -> tuple[int, int]:
        """Return the rows and columns that the pass runs over: one long row where nothing depends on the row."""
        lengths, reduces = self._domain, any(node.op == "reduce" for node in self.group.nodes)
        if not reduces and all(pattern in (FULL, ONE) for _, pattern in self._uses):
            return 1, prod(lengths)
        if len(lengths) > 2:
            raise Untraceable(f"broadcasting in {len(lengths)} dimensions")
        return (lengths[0], lengths[1]) if len(lengths) == 2 else (1, prod(lengths))

    def _row_by_row(self) -> bool:
        """Tell whether the code processes a row at a time: where it reduces rows, and where rows are short."""
        return any(map(takes_row, self.group.nodes)) or (self.rows > 1 and self.columns <= NARROW)

    def _array(self, node: StepNode, pattern: AccessPattern) -> int:
        self.arrays.append(node)
        self._patterns.append(pattern)
        return self._text.array(node.dtype)

    def _write(self) -> None:
        text, elements = self._text, dict[int, tuple[int, str]]()
        for (number, pattern), node in self._uses.items():
            k = self._array(node, pattern)
            elements[number] = k, text.load(k, pattern, f"r{k}")
            self._read_names[number, pattern] = f"%r{k}"
        for k, node in enumerate(self.group.nodes):
            if node.op == "ufunc":
                self._compute(node, f"v{k}")
            elif isinstance(text, RowText) and takes_row(node):
                text.reduce_row(node.info[0], node.dtype, f"v{k}", self._value(node.inputs[0], node))
                self._names[node.number] = f"%v{k}"
            else:
                text.add_to(self._array(node, ROW), self._value(node.inputs[0], node))
        for node in self.group.nodes:
            if node.number in self._names and node.number in self.memory.stored:
                taken = self.memory.shares.get(node.number)
                k, at = elements[taken.number] if taken else self._full(node)
                text.store(k, at, self._names[node.number])

    def _own_pattern(self, node: StepNode) -> AccessPattern:
        """Return the access pattern of a result in the pass."""
        return FULL if node.op == "ufunc" and self._wide(node) else COLUMN

    def _full(self, node: StepNode) -> tuple[int, str]:
        pattern = self._own_pattern(node)
        k = self._array(node, pattern)
        return k, self._text.full(k, wide=pattern == FULL)

    def _compute(self, node: StepNode, name: str) -> None:
        form = template(node.info, node.dtype, tuple(n.dtype for n in node.inputs))
        assert form is not None, node.info
        operands = [self._value(n, node, known=node.info in _SHIFTS) for n in node.inputs]
        self._text.compute(form, name, operands, node.dtype, wide=self._wide(node))
        self._names[node.number] = f"%{name}"

    def _value(self, node: StepNode, user: StepNode, *, known: bool = False) -> str:
        """Return an operand; one that is equal for all elements is 0, a `known` constant, or read from the table."""
        if node.base.number in self._names:
            return self._names[node.base.number]
        if node.uniform is None:
            return self._read_names[node.number, self._pattern(node, user)]
        value = node.uniform
        return literal(value) if known or not value else self._text.number(node.dtype, value)


def _shape(node: StepNode) -> tuple[int, ...]:
    """Return the shape that a node's loop runs over."""
    return node.inputs[0].shape if node.op == "reduce" else node.shape


def compiled(source: str) -> int:
    """Return the address of the compiled loop of a source text."""
    (loop,) = addresses(source)
    return loop
