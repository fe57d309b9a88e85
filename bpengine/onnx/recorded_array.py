"""Arrays of known dtype and shape without values: NumPy passes functions called on one to its methods (NEP 13, NEP 18)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from bpengine.onnx.onnx_graph import (
    COUNTED,
    ROWS,
    Dimension,
    HostArray,
    NoOnnxForm,
    OnnxGraph,
    OnnxNode,
    Shape,
    has_rows,
)

LEAST: Final = np.iinfo(np.int64).min
XP: Final[Any] = np  # NumPy's functions accept recorded arrays, which its type annotations do not allow


class RecordedArray(NDArrayOperatorsMixin):
    """A node of a graph that behaves as a NumPy array and records the operations on it."""

    __array_priority__ = 1000

    def __init__(self, graph: OnnxGraph, node: OnnxNode) -> None:
        self.graph, self.node = graph, node
        self.shape, self.dtype, self.ndim = node.shape, node.dtype, len(node.shape)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> RecordedArray:
        """Record an elementwise operation or a matrix product."""
        if "out" in options:
            raise NoOnnxForm(f"a write into an array by np.{ufunc.__name__} (write y = y + 1 in place of y += 1)")
        if method != "__call__" or options or ufunc not in self.graph.forms:
            how = "" if method == "__call__" else f".{method}"
            extra = f" with {', '.join(sorted(options))}" if options else ""
            raise NoOnnxForm(f"np.{ufunc.__name__}{how}{extra}")
        computed: RecordedArray = self.graph.forms[ufunc](self.graph, *inputs)
        return computed

    def __array_function__(
        self, function: Callable[..., object], types: object, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> RecordedArray:
        """Record any other function of NumPy."""
        name = f"np.{function.__name__}"
        if function not in self.graph.forms:
            raise NoOnnxForm(name)
        form = self.graph.forms[function]
        try:
            inspect.signature(form).bind(self.graph, *args, **kwargs)
        except TypeError:
            raise NoOnnxForm(f"{name} with the options {', '.join(kwargs) or 'it is called with'}") from None
        computed: RecordedArray = form(self.graph, *args, **kwargs)
        return computed

    def __getitem__(self, key: object) -> RecordedArray:
        """Record a selection of columns: by numbers, slices, new axes, or one list of numbers."""
        return picked(self, key if isinstance(key, tuple) else (key,))

    @property
    def T(self) -> RecordedArray:  # noqa: N802 - the name in the array API standard
        """The transposed array."""
        transposed: RecordedArray = XP.permute_dims(self, tuple(reversed(range(self.ndim))))
        return transposed

    @property
    def mT(self) -> RecordedArray:  # noqa: N802 - the name in the array API standard
        """The array with its last two axes exchanged."""
        transposed: RecordedArray = XP.matrix_transpose(self)
        return transposed

    @property
    def size(self) -> int:
        """The number of elements, where it is known."""
        if has_rows(self.shape):
            raise NoOnnxForm(COUNTED)
        return math.prod(n for n in self.shape if isinstance(n, int))

    def __bool__(self) -> bool:
        raise NoOnnxForm("a branch on a value")

    __float__ = __int__ = __index__ = __bool__

    def __len__(self) -> int:
        raise NoOnnxForm(COUNTED)

    def __iter__(self) -> NoReturn:
        raise NoOnnxForm("a loop over the rows")

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NoOnnxForm("a value read by Python")

    def __setitem__(self, key: object, value: object) -> None:
        raise NoOnnxForm("a write into an array")

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse NumPy's methods and attributes (`x.sum()`) that are not part of the array API standard."""
        if name in dir(np.ndarray) and not name.startswith("__"):
            raise NoOnnxForm(f"the attribute {name!r} of an array (write xp.{name}(x, ...))")
        raise AttributeError(name)

    def noted(
        self, op: str, *more: Any, dtype: npt.DTypeLike | None = None, shape: Shape | None = None, **attributes: Any
    ) -> RecordedArray:
        """Record an operation on this array and possibly others; its result has the same dtype and shape by default."""
        nodes = [self.node, *(as_node(self.graph, a) for a in more)]
        kind = self.dtype if dtype is None else dtype
        return RecordedArray(
            self.graph, self.graph.add(op, nodes, kind, self.shape if shape is None else shape, **attributes)
        )


Operand: TypeAlias = RecordedArray | HostArray | np.generic | complex  # what NumPy combines with a recorded array


def as_node(graph: OnnxGraph, value: object, dtype: npt.DTypeLike | None = None) -> OnnxNode:
    """Return the node of a recorded array, or a constant's."""
    return value.node if isinstance(value, RecordedArray) else graph.constant(value, dtype)


def as_recorded(graph: OnnxGraph, value: object, dtype: npt.DTypeLike | None = None) -> RecordedArray:
    """Return an array or a number as a recorded array, of a dtype if one is given."""
    array = value if isinstance(value, RecordedArray) else RecordedArray(graph, graph.constant(value, dtype))
    return array if dtype is None or array.dtype == dtype else array.noted("Cast", dtype=np.dtype(dtype))


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape of arrays that are combined element by element."""
    width = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (width - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(_common(dimensions) for dimensions in zip(*padded, strict=True))


def _common(dimensions: Sequence[Dimension]) -> Dimension:
    rows = any(n is ROWS for n in dimensions)
    numbers = {n for n in dimensions if n is not ROWS and n != 1}
    if len(numbers) > 1 or (rows and numbers):
        raise NoOnnxForm(f"operands of the lengths {', '.join(map(str, dimensions))} along one axis")
    return ROWS if rows else numbers.pop() if numbers else 1


def picked(x: RecordedArray, keys: tuple[Any, ...]) -> RecordedArray:
    """Record x[keys]."""
    if any(isinstance(k, RecordedArray) for k in keys):
        raise NoOnnxForm("indexing by a computed array")
    spots = [at for at, k in enumerate(keys) if k is Ellipsis]
    at = spots[0] if spots else len(keys)
    named = sum(k is not None and k is not Ellipsis for k in keys)
    keys = (*keys[:at], *(slice(None),) * (x.ndim - named), *keys[at + 1 :])
    axis, result, new, gone = 0, x, list[int](), list[int]()
    for key in keys:
        if key is None:
            new.append(axis + len(new))
            continue
        result = _along(result, key, axis)
        if isinstance(key, (int, np.integer)):
            gone.append(axis + len(new))
        axis += 1
    if new:
        result = XP.expand_dims(result, tuple(new))
    chosen: RecordedArray = XP.squeeze(result, axis=tuple(gone)) if gone else result
    return chosen


def _along(x: RecordedArray, key: object, axis: int) -> RecordedArray:
    """Record the selection by a key along one axis; a single number keeps the axis."""
    length = x.shape[axis]
    if isinstance(key, slice) and key == slice(None):
        return x
    if not isinstance(length, int):
        raise NoOnnxForm("a choice of rows")
    if isinstance(key, (list, np.ndarray)):
        columns: RecordedArray = XP.take(x, np.asarray(key), axis=axis)
        return columns
    if isinstance(key, (int, np.integer)):
        if not -length <= key < length:
            raise IndexError(f"index {key} is out of bounds for axis {axis} with size {length}")
        key = slice(int(key) % length, int(key) % length + 1)
    if not isinstance(key, slice):
        raise NoOnnxForm(f"indexing by {type(key).__name__}")
    start, stop, step = key.indices(length)
    count = len(range(start, stop, step))
    if (start, stop, step) == (0, length, 1):
        return x
    ends = [stop if stop >= 0 else LEAST]
    numbers = [np.array(part, np.int64) for part in ([start], ends, [axis], [step])]
    return x.noted("Slice", *numbers, shape=(*x.shape[:axis], count, *x.shape[axis + 1 :]))
