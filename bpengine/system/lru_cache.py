"""A cache of the most recently used values, such as compiled steps; threads may share it, and forks inherit it."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from threading import RLock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

Value = TypeVar("Value")

MOST = 64  # compiled steps that are kept, one for each combination of settings


class LruCache(Generic[Value]):
    """Keeps the values of at most `most` keys; the least recently used one is dropped first."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._values: dict[Hashable, Value] = {}
        self._lock = RLock()  # what is dropped may end in code that asks this cache again
        _caches.add(self)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, made now if it is not kept.

        Two threads that want the same one at once may both make it, for making takes long and may ask this cache again;
        both get that of the first.
        """
        with self._lock:
            if key in self._values:
                return self._used(key, self._values[key])
        value = make()
        with self._lock:
            return self._used(key, self._values.get(key, value))

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._values.clear()

    def _used(self, key: Hashable, value: Value) -> Value:
        self._values.pop(key, None)
        self._values[key] = value  # now the last of the dict
        while len(self._values) > self.most:
            del self._values[next(iter(self._values))]
        return value

    def unlock(self) -> None:
        """Be free again in the child of a fork, which has none of the threads that may have held the lock."""
        self._lock = RLock()


_caches: WeakSet[LruCache[Any]] = WeakSet()


def _unlock_all() -> None:
    for cache in list(_caches):
        cache.unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)
