"""A cache of the most recently used values, such as compiled steps."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")

MOST = 64  # compiled steps of one model that are kept, one for each combination of settings


class LruCache(Generic[Value]):
    """Keeps the values of at most `most` keys; the least recently used one is dropped first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._values: dict[Hashable, Value] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, made now if it is not kept."""
        value = self._values.pop(key) if key in self._values else make()
        self._values[key] = value  # now the last of the dict
        while len(self._values) > self._most:
            del self._values[next(iter(self._values))]
        return value
