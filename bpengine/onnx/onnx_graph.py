"""A graph of ONNX operations that is being recorded: nodes of one output each, inputs and constants, all by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from bpengine.errors import ConfigError

HostArray = npt.NDArray[Any]
Kind = np.dtype[Any]
COUNTED: Final = "the number of rows as a number (xp.ones((x.shape[0], 1)) is fine, np.ones is not)"
ML: Final = "ai.onnx.ml"  # the domain of operations on text
KINDS: Final = ("float32", "float64", "int32", "int64", "bool", "object")  # dtypes of arrays; object is text


class NoOnnxForm(ConfigError):
    """An operation on an array has no ONNX form; the text names it."""


class OpenRows:
    """The unknown number of rows of a graph: it can be part of a shape, and nothing can be computed with it."""

    __array_ufunc__ = None  # makes `array / rows` use the methods of this class

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        raise NoOnnxForm("a branch on the number of rows")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return "rows"

    def _refuse(self, *_: object) -> NoReturn:
        raise NoOnnxForm(COUNTED)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __pow__ = __rpow__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __neg__ = __abs__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __int__ = __index__ = __float__ = _refuse


ROWS: Final = OpenRows()
Dimension = int | OpenRows
Shape = tuple[Dimension, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class OnnxNode:
    """One array of a graph: the result of `op` on `inputs`, or "input", or a constant with its numbers in `array`."""

    name: str
    op: str
    dtype: Kind
    shape: Shape
    inputs: tuple[OnnxNode, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""
    array: HostArray | None = None


class OnnxGraph:
    """Nodes in the order in which they were recorded; `place` is the layer being recorded, a prefix of the names of its nodes.

    forms: for each function of NumPy the function that records it, called with the graph and the arguments of NumPy's.
    """

    def __init__(self, forms: Mapping[Any, Callable[..., Any]]) -> None:
        self.forms = forms
        self.place = ""
        self._names: set[str] = set()
        self._constants: dict[Any, OnnxNode] = {}
        self.nodes: list[OnnxNode] = []

    def unique(self, name: str) -> str:
        """Return a name, with a number after it where it is already used; ONNX has no empty names."""
        wanted, number = name or "unnamed", 0
        while wanted in self._names:
            number += 1
            wanted = f"{name or 'unnamed'}_{number}"
        self._names.add(wanted)
        return wanted

    def add(
        self,
        op: str,
        inputs: Sequence[OnnxNode],
        dtype: npt.DTypeLike,
        shape: Shape,
        *,
        name: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> OnnxNode:
        """Record an operation."""
        where = name or (f"{self.place}/{op}" if self.place else op)
        return self._kept(
            OnnxNode(
                name=self.unique(where), op=op, dtype=np.dtype(dtype), shape=shape, inputs=tuple(inputs),
                attributes=attributes, domain=domain,
            )
        )  # fmt: skip

    def input(self, name: str, dtype: npt.DTypeLike, shape: Shape) -> OnnxNode:
        """Record an input of the graph; dtype object is text."""
        return self._kept(OnnxNode(name=self.unique(name), op="input", dtype=np.dtype(dtype), shape=shape))

    def parameter(self, name: str, array: HostArray) -> OnnxNode:
        """Record a constant with a name."""
        return self._kept(self._of(self.unique(name), np.ascontiguousarray(array).reshape(array.shape)))

    def constant(self, value: object, dtype: npt.DTypeLike | None = None) -> OnnxNode:
        """Record a constant without a name; equal ones once."""
        array = np.array(value, dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._kept(self._of(self.unique("constant"), array))
        return self._constants[key]

    def _of(self, name: str, array: HostArray) -> OnnxNode:
        return OnnxNode(name=name, op="constant", dtype=array.dtype, shape=array.shape, array=array)

    def _kept(self, node: OnnxNode) -> OnnxNode:
        if node.dtype.name not in KINDS:
            raise NoOnnxForm(f"an array of {node.dtype}")
        self.nodes.append(node)
        return node

    def row_count(self) -> OnnxNode:
        """Return the number of rows (1,), read from the first input."""
        first = next(node for node in self.nodes if node.op == "input")
        return self.add("Shape", [first], np.int64, (1,), start=0, end=1)

    def shape_node(self, shape: Shape) -> OnnxNode:
        """Return a shape as an array in which the number of rows is read at run time."""
        if not has_rows(shape):
            return self.constant(shape, np.int64)
        parts = [self.row_count() if n is ROWS else self.constant([n], np.int64) for n in shape]
        return parts[0] if len(parts) == 1 else self.add("Concat", parts, np.int64, (len(parts),), axis=0)


def has_rows(shape: Shape) -> bool:
    """Tell whether the number of rows is part of a shape."""
    return any(n is ROWS for n in shape)


def needed(outputs: Sequence[OnnxNode], nodes: Sequence[OnnxNode]) -> Iterator[OnnxNode]:
    """Yield the nodes that outputs depend on, in order; residuals, which only a backward needs, are left out."""
    wanted, open_nodes = set[int](), list(outputs)
    while open_nodes:
        node = open_nodes.pop()
        if id(node) not in wanted:
            wanted.add(id(node))
            open_nodes += node.inputs
    return (node for node in nodes if id(node) in wanted)
