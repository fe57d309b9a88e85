"""The intermediate representation: a step as a graph of array operations, and the groups that a target computes together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

HostArray: TypeAlias = np.ndarray[Any, Any]
DType: TypeAlias = np.dtype[Any]
Path: TypeAlias = tuple[Any, ...]
Info: TypeAlias = Any  # see `StepNode`: its type depends on the operation
Op = Literal[
    "input", "constant", "ufunc", "matmul", "reduce", "view", "concat", "partial", "finish", "plus", "outside", "loop",
    "side", "dot",
]  # fmt: skip
Kind = Literal["pass", "single", "copy", "tail"]


class Untraceable(Exception):
    """The step has an operation that cannot be recorded, or that a target does not support; it then runs uncompiled."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StepNode:
    """One array of the step and the operation that computes it.

    `info` holds what is not among `inputs`: the ufunc's name ("cast" for a change of dtype alone), the reduction's ufunc, a
    view's (offset, strides) in elements of its base, the joined axis, an input's number, a constant's value, the host
    function that an "outside" node calls, the shards of a "loop", the library of a "matmul" where one was chosen. "plus" is
    a + b in a separate pass. Where a target sums in two stages, a reduction becomes "partial", a line of results per block of
    rows, and "finish", which reduces the lines. "side" is a second result of a target's product, which is its input. "dot" is
    a product that a target computes inside of a pass, element by element, from finished operands.
    Operands of reductions and joins, and every output of the step, are in C order.
    """

    number: int  # the position in the order in which the step computed its nodes
    op: Op
    inputs: tuple[StepNode, ...] = field(repr=False)  # the repr would contain every path through the graph
    shape: tuple[int, ...]
    dtype: DType
    info: Info = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def base(self) -> StepNode:
        """The array that owns the memory: this one, unless it is a view."""
        return self.inputs[0] if self.op == "view" else self

    @property
    def offset(self) -> int:
        """The first element's place in the memory of `base`."""
        return int(self.info[0]) if self.op == "view" else 0

    @property
    def strides(self) -> tuple[int, ...]:
        """Distances in elements between neighbours along each axis."""
        return tuple(self.info[1]) if self.op == "view" else c_order_strides(self.shape)

    @property
    def uniform(self) -> np.generic | None:
        """The value of a constant whose elements are all equal, else None."""
        held_as_one = self.op == "constant" and self.size and not any(self.info.strides)
        return self.info.flat[0] if held_as_one else None


@dataclass
class StepGraph:
    """All nodes in the order of their creation; adding the same operation on the same arrays returns the first node."""

    nodes: list[StepNode] = field(default_factory=list)
    _known: dict[Any, StepNode] = field(default_factory=dict)

    def add(
        self, op: Op, inputs: Iterable[StepNode], shape: tuple[int, ...], dtype: npt.DTypeLike, info: Info = None
    ) -> StepNode:
        """Return the node of this operation, which is added unless it exists."""
        inputs, dtype = tuple(inputs), np.dtype(dtype)
        key = (op, tuple(node.number for node in inputs), shape, dtype.str, _hashable(info))
        if key not in self._known:
            node = StepNode(number=len(self.nodes), op=op, inputs=inputs, shape=shape, dtype=dtype, info=info)
            self._known[key] = node
            self.nodes.append(node)
        return self._known[key]

    def constant(self, value: object, dtype: npt.DTypeLike | None = None) -> StepNode:
        """Return the node of a constant array; one whose elements are all equal, to the bit, is stored as one element."""
        array = np.array(value, dtype=dtype, order="C")
        bits = array.reshape(array.size, 1).view(np.uint8)
        if array.size and (bits == bits[0]).all():
            array = np.broadcast_to(array.flat[0], array.shape)
        return self.add("constant", (), array.shape, array.dtype, array)

    def copied(self, node: StepNode, shape: tuple[int, ...]) -> StepNode:
        """Return a copy in C order, broadcast to `shape`; the array itself where it has that form already."""
        if node.shape == shape and in_order(node):
            return node
        return self.add("ufunc", [node], shape, node.dtype, "cast")


@dataclass(frozen=True, eq=False, kw_only=True)
class RecordedStep:
    """The nodes of a step: `inputs` holds the state by path, `rows` and `rate` the inputs that change with each step.

    `changed` is the new state where it differs from the old; `reports` are the numbers that are read after each step. All
    outputs are in C order, and none of them in the memory of the old state. `rounded_rows` are rows, by their position, that
    a target reads a second time with fewer bits.
    """

    inputs: dict[Path, StepNode]
    rows: tuple[StepNode, ...]
    rate: StepNode
    changed: dict[Path, StepNode]
    reports: dict[str, StepNode]
    rounded_rows: dict[int, StepNode] = field(default_factory=dict)

    @property
    def outputs(self) -> list[StepNode]:
        """The nodes that the step returns."""
        return [*self.changed.values(), *self.reports.values()]


class ShardTurn(NamedTuple):
    """A shard in a loop: its first row among those of this process, that row's position in the batch, its number of rows.

    Its contribution is written to the buffer `target`.
    """

    begin: int
    first: int
    rows: int
    target: int


class Addition(NamedTuple):
    """The sum of some buffers of a loop, which is written to `target`: each is added to the sum of those before it."""

    sources: tuple[int, ...]
    target: int


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardLoop:
    """The content of a "loop" node: shards one after the other, and additions of their contributions, in the order of `turns`.

    `bodies` maps a number of rows to the computation of a shard: a step, whose new state ("sum", name) is stored in one vector
    of `size` elements, one name after the other. Its old state consists of arrays of the loop's inputs, ("outer", k), and the
    position in the batch of the shard's first row, ("first",). Its rows come from the step's data with the numbers `data`.
    Buffers are vectors: 0, 1, ... are lines of the result and intermediate sums; for those below 0 see `LEFT`.
    """

    bodies: dict[int, RecordedStep]
    data: tuple[int, ...]
    size: int
    turns: tuple[ShardTurn | Addition, ...]


# buffers of the two shards whose sum comes next, and of the contribution of a shard without rows
LEFT, RIGHT, ZEROS = -1, -2, -3


@dataclass(eq=False)
class FusionGroup:
    """Operations that are computed together.

    A "pass" goes over memory once, for all of its `nodes`. A "single" node is any other operation: a product, a
    concatenation, a library's loop. A "copy" writes a new state over the old one, `replaced`. The "tail" ends the step and
    returns its reports: it computes some and loads the others, `loaded`, from memory.
    """

    kind: Kind = "pass"
    nodes: list[StepNode] = field(default_factory=list)
    replaced: StepNode | None = None
    loaded: list[StepNode] = field(default_factory=list)

    @property
    def own(self) -> set[int]:
        """The numbers of the nodes computed here."""
        return set() if self.kind == "copy" else {node.number for node in self.nodes}

    @property
    def reads(self) -> list[StepNode]:
        """Arrays that the group reads from memory, views as such; uniform constants are part of the code of a pass or tail."""
        if self.kind == "copy":
            return list(self.nodes)
        own = self.own
        operands = {n.number: n for node in self.nodes for n in node.inputs if n.base.number not in own}
        operands |= {n.number: n for n in self.loaded}
        return [n for n in operands.values() if self.kind == "single" or n.uniform is None]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that a pass runs over, without axes of length 1: usually (rows, columns) or (elements,)."""
        shapes = {axes(n.shape) for n in self.nodes if n.op in ("ufunc", "finish", "dot")}
        shapes |= {summed_shape(n.inputs[0]) for n in self.nodes if n.op in ("reduce", "partial")}
        most = max(map(len, shapes))
        shape = next(s for s in shapes if len(s) == most)
        fits = ({shape[0], prod(shape)} if shape else set()) | {1}  # a number for each row, or for each element
        if any(s != shape and (len(s) == most or len(s) > 1 or prod(s) not in fits) for s in shapes):
            raise Untraceable(f"a pass over arrays of {sorted(shapes)}")
        return shape or (1,)


@lru_cache(maxsize=1024)  # planning a step calls this thousands of times for a few dozen shapes
def axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the lengths that are not 1."""
    return tuple(n for n in shape if n != 1)


@lru_cache(maxsize=1024)
def c_order_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of an array in C order."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def in_order(node: StepNode) -> bool:
    """Tell whether the elements are contiguous in C order."""
    return node.strides == c_order_strides(node.shape)


def summed_shape(summands: StepNode) -> tuple[int, ...]:
    """Return the shape that a reduction of an operand runs over, without axes of length 1.

    It is the shape of the operand's array, in which other nodes of a pass use it, unless the operand is a part of its array,
    such as the rows of a part of a batch.
    """
    return axes(summands.base.shape if summands.size == summands.base.size else summands.shape)


def needed(outputs: Iterable[StepNode]) -> list[StepNode]:
    """Return the nodes that the outputs depend on, including the outputs, in the order of their creation."""
    seen: dict[int, StepNode] = {}
    todo = list(outputs)
    while todo:
        node = todo.pop()
        if node.number not in seen:
            seen[node.number] = node
            todo += node.inputs
    return [seen[number] for number in sorted(seen)]


def _hashable(info: Info) -> object:
    return (info.tobytes(), info.shape, info.dtype.str) if isinstance(info, np.ndarray) else info
