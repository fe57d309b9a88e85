"""Operations: a list of array operations in the order of their computation, each of them once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bpengine.backend import HostArray

DTYPES = {"float64": "d", "float32": "f", "int32": "i", "uint32": "u", "bool": "b", "int64": "l"}


class Operations:
    """Operations by number. One is [name, dtype, shape, numbers of its arguments, further arguments].

    "input" is filled in before the others are computed. `unknown` are functions without an operation: their results have no
    number, which matters only where a shown number depends on them. `broken` says what makes the whole list unusable.
    """

    def __init__(self) -> None:
        self.list: list[list[Any]] = []
        self.broken: str | None = None
        self.unknown: dict[str, bool] = {}
        self.running = False
        self._numbers: dict[str, int] = {}

    def add(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: Sequence[int],
        arguments: Sequence[int | None],
        more: object = None,
    ) -> int | None:
        """Return the number of an operation; None where an argument has no operation, or for an unknown dtype."""
        code = DTYPES.get(str(dtype))
        if code is None:
            self.give_up(f"arrays of {dtype}")
        if code is None or any(argument is None for argument in arguments):
            return None
        operation = [name, code, list(shape), list(arguments), *([] if more is None else [more])]
        key = repr(operation)
        if key not in self._numbers:
            self._numbers[key] = len(self.list)
            self.list.append(operation)
        return self._numbers[key]

    def input(self, array: HostArray) -> int:
        """Return the number of a new input with the shape and dtype of an array."""
        self.list.append(["input", DTYPES[str(array.dtype)], list(array.shape), []])
        return len(self.list) - 1

    def constant(self, array: HostArray) -> int | None:
        """Return the number of a constant; one number stands for an array of equal ones."""
        values = [plain(value) for value in array.ravel().tolist()]
        if len({repr(value) for value in values}) == 1:
            values = values[:1]
        return self.add("constant", array.dtype, array.shape, (), values)

    def gathered(self, sources: Sequence[int | None], places: HostArray, dtype: np.dtype[Any]) -> int | None:
        """Return the operation that selects numbers: `places` count through all sources, one after another."""
        flat = places.ravel()
        if len(sources) == 1 and sources[0] is not None:
            shape = self.list[sources[0]][2]
            if tuple(shape) == places.shape and np.array_equal(flat, np.arange(math.prod(shape))):
                return sources[0]
        return self.add(
            "gather", dtype, places.shape, sources, (_affine(places) if len(sources) == 1 else None) or flat.tolist()
        )

    def looked(self, what: str) -> None:
        """Record that single values were read: the running step may branch on them, and the list holds no branches."""
        if self.running:
            self.broken = self.broken or what

    def give_up(self, what: str) -> None:
        """Record a function that has no operation."""
        self.unknown[what] = self.unknown.get(what, False) or self.running

    @property
    def trouble(self) -> str:
        """The reason why there is no list; a reason in the step itself takes precedence."""
        own = [what for what, running in self.unknown.items() if running]
        return ", ".join(own or self.unknown)


def plain(value: object) -> object:
    """Return a number for JSON; one that is not finite becomes text."""
    return value if not isinstance(value, float) or math.isfinite(value) else repr(value)


def _affine(places: HostArray) -> dict[str, Any] | None:
    """Return {"at": first place, "by": stride of each axis} where the places are evenly spaced, as those of a view."""
    if places.size == 0:
        return None
    origin = (0,) * places.ndim
    first = int(places[origin])
    strides = [
        int(places[tuple(int(a == axis) for a in range(places.ndim))]) - first if n > 1 else 0
        for axis, n in enumerate(places.shape)
    ]
    steps = sum(
        (stride * np.arange(n).reshape([-1 if a == axis else 1 for a in range(places.ndim)])
         for axis, (stride, n) in enumerate(zip(strides, places.shape, strict=True))),
        start=np.full(places.shape, first),
    )  # fmt: skip
    return {"at": first, "by": strides} if np.array_equal(np.broadcast_to(steps, places.shape), places) else None
