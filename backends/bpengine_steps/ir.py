"""The record of a step: a graph of array operations, each noted once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np

HostArray: TypeAlias = np.ndarray[Any, Any]
DType: TypeAlias = np.dtype[Any]
Op = Literal["input", "constant", "ufunc", "matmul", "reduce", "view", "concat", "partial", "finish"]


Inline = Callable[[str, str, str], bool]


class Unrecordable(Exception):
    """The step does something that cannot be recorded; it then runs as it is written."""


@dataclass(frozen=True, eq=False)
class Node:
    """One array of the step and how it is made.

    `info` says what `inputs` do not: the ufunc's name ("cast" for a change of dtype alone), the reduction's ufunc, a
    view's (offset, strides) in elements of its base, the joined axis, an input's number, a constant's value. A target may
    split a reduction into "partial", a line of results per block of rows, and "finish", which reduces the lines.
    """

    number: int  # the order in which the step made them
    op: Op
    inputs: tuple[Node, ...] = field(repr=False)  # their own would write out every path through the graph
    shape: tuple[int, ...]
    dtype: DType
    info: Any = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def base(self) -> Node:
        """The array whose memory this one is: itself, unless it is a view."""
        return self.inputs[0] if self.op == "view" else self

    @property
    def offset(self) -> int:
        """The first element's place in the memory of `base`."""
        return int(self.info[0]) if self.op == "view" else 0

    @property
    def strides(self) -> tuple[int, ...]:
        """Distances in elements between neighbours along each axis."""
        return tuple(self.info[1]) if self.op == "view" else contiguous(self.shape)

    @property
    def uniform(self) -> Any:
        """The one value of a constant whose elements are all the same, else None."""
        held_as_one = self.op == "constant" and self.size and not any(self.info.strides)
        return self.info.flat[0] if held_as_one else None


@dataclass
class Graph:
    """All nodes in the order they were made; asking for the same operation on the same arrays returns the first node.

    `inline(ufunc, result kind, operand kind)` says whether the target computes a ufunc element by element inside its own
    code; what it leaves to a library's loop gets operands that lie in one piece.
    """

    inline: Inline
    nodes: list[Node] = field(default_factory=list)
    _known: dict[Any, Node] = field(default_factory=dict)

    def add(self, op: Op, inputs: Iterable[Node], shape: tuple[int, ...], dtype: Any, info: Any = None) -> Node:
        """Return the node of this operation, made now unless it exists."""
        inputs, dtype = tuple(inputs), np.dtype(dtype)
        key = (op, tuple(node.number for node in inputs), shape, dtype.str, _hashable(info))
        if key not in self._known:
            self._known[key] = Node(len(self.nodes), op, inputs, shape, dtype, info)
            self.nodes.append(self._known[key])
        return self._known[key]

    def constant(self, value: Any, dtype: Any = None) -> Node:
        """Return the node of a constant array; one whose elements are all the same, to the bit, is held as one element."""
        array = np.array(value, dtype=dtype, order="C")
        bits = array.reshape(array.size, 1).view(np.uint8)
        if array.size and (bits == bits[0]).all():
            array = np.broadcast_to(array.flat[0], array.shape)
        return self.add("constant", (), array.shape, array.dtype, array)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of an array in C order."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def needed(outputs: Iterable[Node]) -> list[Node]:
    """Return the nodes that the outputs depend on, themselves included, in the order they were made."""
    seen: dict[int, Node] = {}
    todo = list(outputs)
    while todo:
        node = todo.pop()
        if node.number not in seen:
            seen[node.number] = node
            todo += node.inputs
    return [seen[number] for number in sorted(seen)]


def _hashable(info: Any) -> Any:
    return (info.tobytes(), info.shape, info.dtype.str) if isinstance(info, np.ndarray) else info
