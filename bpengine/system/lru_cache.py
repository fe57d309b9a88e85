"""A cache of the most recently used values, such as compiled steps; threads may share it, and forks inherit it."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from threading import RLock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

Value = TypeVar("Value")

MOST = 64  # number of compiled steps that are kept, one for each combination of settings


class LruCache(Generic[Value]):
    """Keeps the values of at most `most` keys; the least recently used one is dropped first."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._values: OrderedDict[Hashable, Value] = OrderedDict()  # the least recently used one first
        self._lock = RLock()  # the finaliser of a dropped value may use this cache
        _caches.add(self)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, computed now if it is not cached.

        Two threads that request the same key at once may both compute its value, since no lock is held meanwhile (the
        computation may use this cache); both get the first value.
        """
        with self._lock, suppress(KeyError):  # a finaliser that runs in between may drop the value
            value = self._values[key]
            self._values.move_to_end(key)
            return value
        value = make()
        with self._lock:
            value = self._values.setdefault(key, value)
            self._values.move_to_end(key)
            while len(self._values) > self.most:
                self._values.popitem(last=False)
            return value

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            self._values.clear()

    def unlock(self) -> None:
        """Replace the lock in the child of a fork, where the thread that may have held it does not exist."""
        self._lock = RLock()


_caches: WeakSet[LruCache[Any]] = WeakSet()


def _unlock_all() -> None:
    for cache in list(_caches):
        cache.unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)
