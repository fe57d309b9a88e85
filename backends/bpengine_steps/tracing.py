"""Tracing: a step is run once on arrays that record the operations applied to them.

NumPy passes every function called on such an array to its methods (NEP 13 for ufuncs, NEP 18 for the rest), so kernels
bound to NumPy are recorded without changes. A function without an entry here raises Untraceable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from bpengine_steps.ir import HostArray, Path, RecordedStep, StepGraph, StepNode, Untraceable, c_order_strides
from bpengine_steps.signature import Signature, Tree, leaves, rebuilt

Operand: TypeAlias = Any  # a traced array, an array of NumPy's or the device's, or a number
Axes: TypeAlias = int | Sequence[int] | None
REDUCTIONS = {np.sum: "add", np.max: "maximum", np.min: "minimum"}


def record(step: Callable[..., Any], state: Tree, signature: Signature) -> RecordedStep:
    """Run the step once on arrays that record the operations applied to them.

    Raises Untraceable when the step uses an operation that has no node, or changes the structure of its state.
    """
    graph = StepGraph()
    inputs = {p: graph.add("input", (), s, d, ("state", p)) for p, s, d in signature.state}
    rows = tuple(graph.add("input", (), s, d, ("rows", k)) for k, (s, d) in enumerate(signature.rows))
    rate = graph.add("input", (), (1,), signature.dtype, ("rate",))
    traced = rebuilt(state, {p: TracedArray(graph, node) for p, node in inputs.items()})
    after, report = step(traced, tuple(TracedArray(graph, n) for n in rows), TracedArray(graph, rate))
    outputs = {p: _in_order(graph, leaf) for p, leaf in leaves(after)}
    _require_form(inputs, outputs)
    return RecordedStep(
        inputs=inputs,
        rows=rows,
        rate=rate,
        changed={p: _apart(graph, node) for p, node in outputs.items() if node is not inputs[p]},
        reports={name: _apart(graph, _in_order(graph, value)) for name, value in report.items()},
    )


def _require_form(before: Mapping[Path, StepNode], after: Mapping[Path, StepNode]) -> None:
    def forms(nodes: Mapping[Path, StepNode]) -> dict[Path, Any]:
        return {path: (node.shape, node.dtype) for path, node in nodes.items()}

    if forms(before) != forms(after):
        raise Untraceable("a step that changes the form of its state")


def copied_apart(graph: StepGraph, leaf: object) -> StepNode:
    """Return the node of an output: in C order, and never in the memory of an argument."""
    return _apart(graph, _in_order(graph, leaf))


def _in_order(graph: StepGraph, leaf: object) -> StepNode:
    """Return the node of an output, in C order."""
    node = as_node(graph, leaf)
    return graph.copied(node, node.shape)


def _apart(graph: StepGraph, node: StepNode) -> StepNode:
    """Return an output's node; a copy if it is in the state's memory, which the step may overwrite before the end."""
    state = node.base.op == "input" and node.base.info[0] == "state"
    return graph.add("ufunc", [node], node.shape, node.dtype, "cast") if state else node


class TracedArray(NDArrayOperatorsMixin):
    """An array of known shape and dtype without values; operations on it become nodes of a graph."""

    __array_priority__ = 1000

    def __init__(self, graph: StepGraph, node: StepNode) -> None:
        self._graph, self.node = graph, node
        self.shape, self.dtype = node.shape, node.dtype
        self.ndim, self.size = len(node.shape), node.size

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> TracedArray:
        """Record an elementwise operation or a matrix product."""
        if method != "__call__" or options or ufunc.nout != 1:
            raise Untraceable(f"np.{ufunc.__name__} with {method} {sorted(options)}")
        if ufunc is np.matmul:
            return _matmul(self._graph, *inputs)
        return self._note(elementwise(self._graph, ufunc, inputs))

    def __array_function__(
        self, function: Callable[..., Operand], types: object, args: Sequence[Operand], kwargs: Mapping[str, Operand]
    ) -> TracedArray:
        """Record any other function of NumPy."""
        if function in REDUCTIONS:
            return self._note(_reduce(self._graph, REDUCTIONS[function], *args, **kwargs))
        if function not in FUNCTIONS:
            raise Untraceable(f"np.{function.__name__}")
        return self._note(FUNCTIONS[function](self._graph, *args, **kwargs))

    def __getitem__(self, key: object) -> TracedArray:
        """Record a slice; selecting elements by arrays is not supported."""
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, (TracedArray, np.ndarray, list)) for k in keys):
            raise Untraceable("indexing by an array")
        places = keys if Ellipsis in keys else (*keys, Ellipsis)  # with an ellipsis, a single element is a view as well
        return self._note(_view(self._graph, self.node, lambda array: array[places]))

    @property
    def T(self) -> TracedArray:  # noqa: N802 - the name in the array API standard
        """The transposed array."""
        return self._note(_view(self._graph, self.node, lambda array: array.T))

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        raise Untraceable("a branch on a value")

    __float__ = __int__ = __index__ = __bool__

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Untraceable("a value read on the host")

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse NumPy's own methods and attributes (`x.sum()`), which are not part of the array API standard."""
        if name in dir(np.ndarray) and not name.startswith("__"):
            raise Untraceable(f"the attribute {name!r} of an array")
        raise AttributeError(name)

    def _note(self, node: StepNode) -> TracedArray:
        return TracedArray(self._graph, node)


@dataclass(frozen=True)
class DeviceFunction:
    """A function(x, result) of arrays on the device, which it launches in the current stream without waiting."""

    function: Callable[[Operand, Operand], None]


def outside(
    function: Callable[[Operand, Operand], None] | DeviceFunction, run: Callable[[Operand], Operand]
) -> Callable[[Operand], Operand]:
    """Return a function x -> result: run(x) for an array, and for a traced array a node that calls function(x, result).

    x (m, n) and result (n,) are then memory of the program, in C order; the function must not keep them.
    """

    def call(x: Operand) -> Operand:
        if not isinstance(x, TracedArray):
            return run(x)
        copied = x._graph.copied(x.node, x.shape)
        return x._note(x._graph.add("outside", [copied], x.shape[1:], x.dtype, function))

    return call


def plus(a: Operand, b: Operand) -> Operand:
    """Return a + b of arrays of one shape and dtype; traced ones are added in a separate pass.

    Otherwise the sums of many shards would be one pass that waits for all shards and reads them all at once.
    """
    if not isinstance(a, TracedArray) or not isinstance(b, TracedArray):
        return a + b
    graph = a._graph
    nodes = [graph.copied(x.node, x.shape) for x in (a, b)]
    if all(node.op == "constant" for node in nodes):  # the contributions of shards without rows
        return a + b
    return a._note(graph.add("plus", nodes, a.shape, a.dtype))


def product_by(
    how: Callable[[StepNode, StepNode], object], run: Callable[[Operand, Operand], Operand]
) -> Callable[[Operand, Operand], Operand]:
    """Return a function (a, b) -> product: run(a, b) for arrays, for traced ones a "matmul" node with the info how(a, b)."""

    def call(a: Operand, b: Operand) -> Operand:
        traced = next((x for x in (a, b) if isinstance(x, TracedArray)), None)
        return run(a, b) if traced is None else _matmul(traced._graph, a, b, how)

    return call


def as_node(graph: StepGraph, value: object, dtype: npt.DTypeLike | None = None) -> StepNode:
    """Return the node of a recorded array, or a constant's."""
    return value.node if isinstance(value, TracedArray) else graph.constant(value, dtype)


def elementwise(graph: StepGraph, ufunc: np.ufunc, inputs: Sequence[Operand]) -> StepNode:
    """Record a ufunc, in the dtype that NumPy would choose (Python numbers are weak: NEP 50)."""
    kinds = [x.dtype if hasattr(x, "dtype") else type(x) for x in inputs]
    *wanted, dtype = ufunc.resolve_dtypes((*kinds, None))
    nodes = [
        cast(graph, as_node(graph, x, None if hasattr(x, "dtype") else d), d)
        for x, d in zip(inputs, wanted, strict=True)
    ]
    shape = np.broadcast_shapes(*(node.shape for node in nodes))
    if all(node.op == "constant" for node in nodes):
        return graph.constant(ufunc(*(node.info for node in nodes)), dtype)
    return graph.add("ufunc", nodes, shape, dtype, ufunc.__name__)


def cast(graph: StepGraph, node: StepNode, dtype: npt.DTypeLike) -> StepNode:
    """Record a change of dtype, if it is one."""
    if node.dtype == dtype:
        return node
    if node.op == "constant":
        return graph.constant(node.info.astype(dtype))
    return graph.add("ufunc", [node], node.shape, dtype, "cast")


def _matmul(
    graph: StepGraph, a: Operand, b: Operand, how: Callable[[StepNode, StepNode], object] = lambda a, b: None
) -> TracedArray:
    left, right = as_node(graph, a), as_node(graph, b)
    fits = len(left.shape) == len(right.shape) in (2, 3) and left.shape[:-2] == right.shape[:-2]
    if not fits or left.shape[-1] != right.shape[-2] or left.dtype != right.dtype:
        raise Untraceable(f"a product of {left.shape} {left.dtype} and {right.shape} {right.dtype}")
    # with three axes, one product per block of rows
    return TracedArray(
        graph, graph.add("matmul", [left, right], (*left.shape[:-1], right.shape[-1]), left.dtype, how(left, right))
    )


def _reduce(graph: StepGraph, ufunc: str, x: TracedArray, axis: Axes = None, *, keepdims: bool = False) -> StepNode:
    node = x.node
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    gone = {a % x.ndim for a in axes}
    kept = tuple(n for a, n in enumerate(node.shape) if a not in gone)
    if node.dtype.kind != "f":
        raise Untraceable(f"a reduction of {node.dtype}")
    # axes of length 1 do not matter; the reduced ones of the others must be all, the first, the last, or the middle of three
    long = [a for a, n in enumerate(node.shape) if n != 1]
    if not node.size or [a for a in long if a in gone] not in (long, long[:1], long[1:], long[1:-1], []):
        raise Untraceable(f"a reduction of {node.shape} over {sorted(gone)}")
    lengths = [node.shape[a] for a in long]
    if len(lengths) == 3 and gone.intersection(long) == {long[0]}:
        lengths = [lengths[0], lengths[1] * lengths[2]]
    how = (
        "all"
        if all(a in gone for a in long)
        else "first"
        if long[0] in gone
        else "last"
        if long[-1] in gone
        else "middle"
        if gone.intersection(long)
        else "none"
    )
    if len(lengths) > 2 + (how == "middle"):
        raise Untraceable(f"a reduction of {node.shape}")
    if how == "none":
        reduced = node
    else:
        flat = _reshape(graph, node, tuple(lengths) if how != "all" else (node.size,))
        ends = flat.shape[:1] + flat.shape[2:]
        result = {"all": (), "first": flat.shape[1:], "last": flat.shape[:1], "middle": ends}[how]
        reduced = graph.add("reduce", [flat], result, node.dtype, (ufunc, how))
    return _reshape(
        graph, reduced, tuple(1 if a in gone else n for a, n in enumerate(node.shape)) if keepdims else kept
    )


def _mean(graph: StepGraph, x: TracedArray, axis: Axes = None, *, keepdims: bool = False) -> StepNode:
    """Record a mean as NumPy computes it: the sum, divided by the count."""
    total = _reduce(graph, "add", x, axis, keepdims=keepdims)
    count = x.size // max(total.size, 1)
    return elementwise(graph, np.true_divide, [TracedArray(graph, total), x.dtype.type(count)])


def _all(graph: StepGraph, x: TracedArray, axis: Axes = None, *, keepdims: bool = False) -> StepNode:
    return _counted(graph, np.equal, x, axis, keepdims=keepdims)


def _any(graph: StepGraph, x: TracedArray, axis: Axes = None, *, keepdims: bool = False) -> StepNode:
    return _counted(graph, np.not_equal, x, axis, keepdims=keepdims)


def _counted(graph: StepGraph, compare: np.ufunc, x: TracedArray, axis: Axes, *, keepdims: bool) -> StepNode:
    """Record the number of elements of x with compare(x, 0), compared with 0 in the same way.

    With "equal" the result says that none is zero, with "not equal" that some are not. NaN is not zero, as in NumPy. A large
    count is rounded, but never to zero.
    """
    elements = elementwise(graph, compare, [x, x.dtype.type(0)])
    numbers = TracedArray(graph, cast(graph, elements, np.float32))
    count = _reduce(graph, "add", numbers, axis, keepdims=keepdims)
    return elementwise(graph, compare, [TracedArray(graph, count), np.float32(0)])


def _view(graph: StepGraph, node: StepNode, look: Callable[[HostArray], HostArray]) -> StepNode:
    """Record a view: NumPy itself computes offset and strides, on bytes that are never read."""
    memory = np.empty(node.base.size, dtype=np.int8)
    before = np.ndarray(node.shape, np.int8, memory, node.offset, node.strides)
    after = look(before)
    offset = int(after.__array_interface__["data"][0] - memory.__array_interface__["data"][0])
    if after.size and not (0 <= offset < memory.size and np.may_share_memory(after, memory)):
        raise Untraceable("a view that copies")
    if after.shape == node.base.shape and not offset and after.strides == c_order_strides(after.shape):
        return node.base
    return graph.add("view", [node.base], after.shape, node.dtype, (offset, after.strides))


def _reshape(graph: StepGraph, x: TracedArray | StepNode, shape: int | tuple[int, ...], **options: Any) -> StepNode:
    node = x.node if isinstance(x, TracedArray) else x
    if options.get("copy") is not None:
        raise Untraceable("reshape with copy=")
    node = graph.copied(node, node.shape)
    return _view(graph, node, lambda array: array.reshape(shape))


def _astype(graph: StepGraph, x: TracedArray, dtype: npt.DTypeLike, /, *, copy: bool = True) -> StepNode:
    return cast(graph, x.node, dtype)


def _like(value: float) -> Callable[..., StepNode]:
    def filled(graph: StepGraph, x: TracedArray, dtype: npt.DTypeLike | None = None) -> StepNode:
        return graph.constant(np.full(x.shape, value, dtype or x.dtype))

    return filled


def _clip(graph: StepGraph, x: TracedArray, low: object = None, high: object = None) -> StepNode:
    for ufunc, limit in ((np.maximum, low), (np.minimum, high)):
        if limit is not None:
            x = TracedArray(graph, elementwise(graph, ufunc, [x, limit]))
    return x.node


def _round(graph: StepGraph, x: TracedArray, decimals: int = 0) -> StepNode:
    if decimals:
        raise Untraceable("np.round with decimals")
    return elementwise(graph, np.rint, [x])


def _where(graph: StepGraph, condition: Operand, x: Operand, y: Operand) -> StepNode:
    kind = np.result_type(*(v.dtype if isinstance(v, TracedArray) else v for v in (x, y)))
    nodes = [cast(graph, as_node(graph, v), d) for v, d in ((condition, np.dtype(bool)), (x, kind), (y, kind))]
    return graph.add("ufunc", nodes, np.broadcast_shapes(*(n.shape for n in nodes)), kind, "where")


def _concat(graph: StepGraph, arrays: Sequence[Operand], axis: int = 0) -> StepNode:
    nodes = [as_node(graph, a) for a in arrays]
    kind = np.result_type(*(n.dtype for n in nodes))
    nodes = [graph.copied(cast(graph, n, kind), n.shape) for n in nodes]
    shape = list(nodes[0].shape)
    axis %= len(shape)
    shape[axis] = sum(n.shape[axis] for n in nodes)
    return graph.add("concat", nodes, tuple(shape), kind, axis)


def _stack(graph: StepGraph, arrays: Sequence[Operand], axis: int = 0) -> StepNode:
    places = [_view(graph, as_node(graph, a), lambda array: np.expand_dims(array, axis)) for a in arrays]
    return _concat(graph, [TracedArray(graph, place) for place in places], axis)


FUNCTIONS: dict[Callable[..., Operand], Callable[..., StepNode]] = {
    np.mean: _mean,
    np.all: _all,
    np.any: _any,
    np.reshape: _reshape,
    np.astype: _astype,
    np.zeros_like: _like(0),
    np.ones_like: _like(1),
    np.clip: _clip,
    np.round: _round,
    np.where: _where,
    np.concat: _concat,
    np.stack: _stack,
    np.permute_dims: lambda graph, x, axes: _view(graph, x.node, lambda array: array.transpose(axes)),
    np.matrix_transpose: lambda graph, x: _view(graph, x.node, lambda array: array.mT),
    np.expand_dims: lambda graph, x, axis: _view(graph, x.node, lambda array: np.expand_dims(array, axis)),
    np.squeeze: lambda graph, x, axis: _view(graph, x.node, lambda array: np.squeeze(array, axis)),
    np.broadcast_to: lambda graph, x, shape: _view(graph, x.node, lambda array: np.broadcast_to(array, shape)),
}
