"""Recent: what was made for a key, as long as it is among those that were asked for last."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Made = TypeVar("Made")

MOST = 64  # what is compiled for more fits of one model, each with other settings, is compiled anew


class LruCache(Generic[Made]):
    """Keeps what is made for up to `most` keys; beyond that, what was not asked for longest goes."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._made: dict[Hashable, Made] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what was made for `key`, or make it."""
        found = self._made.pop(key) if key in self._made else make()
        self._made[key] = found  # the last one of the dict
        while len(self._made) > self._most:
            del self._made[next(iter(self._made))]
        return found
