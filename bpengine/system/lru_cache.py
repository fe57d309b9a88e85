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
        self._lock = RLock()  # the finaliser of a dropped value may use this cache
        _caches.add(self)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, made now if it is not kept.

        Two threads that request the same key at once may both make its value, since no lock is held meanwhile (making may
        use this cache); both get the first value.
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
        self._values[key] = value  # now the most recently used
        while len(self._values) > self.most:
            del self._values[next(iter(self._values))]
        return value

    def unlock(self) -> None:
        """Replace the lock in the child of a fork, where the thread that may have held it does not exist."""
        self._lock = RLock()


_caches: WeakSet[LruCache[Any]] = WeakSet()


def _unlock_all() -> None:
    for cache in list(_caches):
        cache.unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)
