"""FollowedArray: a NumPy array with its values, which records the operation that computed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bpengine.backend import HostArray
from bpengine.explain.page.program.functions import ELEMENTWISE, FUNCTIONS, REDUCTIONS, elementwise, reduction
from bpengine.explain.page.program.operations import Operations
from bpengine.kernels._trees import Tree


class FollowedArray(np.ndarray[Any, Any]):
    """An array with the `number` of the operation that computed it; None where that is not known.

    NumPy passes every function called on such an array to its methods (NEP 13, NEP 18). While a step is `running`, a read of
    single values (a branch, a conversion) is recorded, since a decision that depends on it cannot be followed.
    """

    __array_priority__: ClassVar[float] = 1000.0
    operations: Operations | None
    number: int | None

    def __array_finalize__(self, source: object) -> None:
        """Begin without an operation: the operation that made this array is not known yet."""
        self.operations, self.number = getattr(source, "operations", None), None

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> FollowedArray:
        """Compute, and record an elementwise operation, a matrix product or a reduction."""
        operations = _operations_of((*inputs, *(options.get("out") or ())))
        if "out" in options:
            operations.looked(f"a write into an array by np.{ufunc.__name__}")
        options = {name: tree(value, unfollowed) for name, value in options.items()}
        values = getattr(ufunc, method)(*(unfollowed(x) for x in inputs), **options)
        return followed(operations, values, _noted(operations, ufunc, method, inputs, options, values))

    def __array_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: Iterable[Any], kwargs: Mapping[str, Any]
    ) -> Tree:
        """Compute, and record any other function of NumPy."""
        args = tuple(args)
        operations = _operations_of((*args, *kwargs.values()))
        values = function(*tree(args, unfollowed), **tree(dict(kwargs), unfollowed))
        if function not in FUNCTIONS:
            operations.give_up(f"np.{function.__name__}")
            return tree(values, lambda part: followed(operations, part, None))
        plain = np.asarray(values)
        return followed(
            operations, values, FUNCTIONS[function](operations, numbers(operations), function, args, kwargs, plain)
        )

    def __getitem__(self, key: object) -> FollowedArray:
        """Select a part, by whole numbers, slices, new axes or arrays of numbers."""
        return self._moved(lambda array: array[tree(key, unfollowed)])

    def __setitem__(self, key: object, value: object) -> None:
        """Write a part: the array is no longer followed."""
        _operations_of([self]).looked("a write into an array")
        unfollowed(self)[key] = value

    @property
    def T(self) -> FollowedArray:  # noqa: N802 - the name in the array API standard
        """The transposed array."""
        return self._moved(lambda array: array.T)

    @property
    def mT(self) -> FollowedArray:  # noqa: N802 - the name in the array API standard
        """The array with its last two axes exchanged."""
        return self._moved(lambda array: array.mT)

    def copy(self, order: object = "C") -> FollowedArray:
        """Return a copy with the same operation."""
        return followed(_operations_of([self]), unfollowed(self).copy(), self.number)

    def __bool__(self) -> bool:
        _operations_of([self]).looked("a branch on a value")
        return bool(unfollowed(self))

    def __float__(self) -> float:
        _operations_of([self]).looked("a value read as a Python number")
        return float(unfollowed(self))

    def __int__(self) -> int:
        _operations_of([self]).looked("a value read as a Python number")
        return int(unfollowed(self))

    def _moved(self, look: Callable[[HostArray], HostArray]) -> FollowedArray:
        operations, places = _operations_of([self]), np.arange(self.size).reshape(self.shape)
        number = operations.gathered([self.number], np.asarray(look(places)), self.dtype)
        return followed(operations, look(unfollowed(self)), number)


def followed(operations: Operations, values: npt.ArrayLike, number: int | None) -> FollowedArray:
    """Return values as an array that is the result of an operation."""
    array = np.ndarray.view(np.asarray(values), FollowedArray)
    array.operations, array.number = operations, number
    return array


def unfollowed(x: Tree) -> Tree:
    """Return an array without its operation; anything else as it is."""
    return np.ndarray.view(x, np.ndarray) if isinstance(x, FollowedArray) else x


def tree(value: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """Return lists, tuples and dicts with a function applied to every part."""
    if isinstance(value, dict):
        return {name: tree(part, change) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [tree(part, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return change(value)


def numbers(operations: Operations) -> Callable[..., int | None]:
    """Return of(x, dtype=None): the number of the operation of an array, or of a constant."""

    def of(x: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> int | None:
        if not isinstance(x, FollowedArray):
            return operations.constant(np.asarray(x, dtype=dtype))
        return x.number

    return of


def _noted(
    operations: Operations,
    ufunc: np.ufunc,
    method: str,
    inputs: Sequence[Any],
    options: Mapping[str, Any],
    values: npt.ArrayLike,
) -> int | None:
    """Return the operation of a call of a ufunc, None for one that is not followed."""
    of, plain = numbers(operations), np.asarray(values)
    if method == "reduce" and ufunc in REDUCTIONS and options.keys() <= {"axis", "keepdims"}:
        return reduction(operations, of, REDUCTIONS[ufunc], inputs[0], options.get("axis", 0), plain)
    if method == "__call__" and not options:
        if ufunc is np.matmul and plain.ndim == 2:
            return operations.add("matmul", plain.dtype, plain.shape, [of(x) for x in inputs])
        if ufunc in ELEMENTWISE:
            return elementwise(operations, of, ufunc, inputs, plain)
    operations.give_up(f"np.{ufunc.__name__}")
    return None


def _operations_of(parts: Sequence[Any]) -> Operations:
    """Return the operations that the first followed array among some values belongs to."""
    for part in parts:
        if isinstance(part, FollowedArray) and part.operations is not None:
            return part.operations
        if isinstance(part, (list, tuple)) and any(isinstance(p, FollowedArray) for p in part):
            return _operations_of(part)
    raise LookupError("none of these arrays is followed")
