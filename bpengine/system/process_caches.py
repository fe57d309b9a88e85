"""The caches that a process keeps for all models, by name; they are emptied together."""

from __future__ import annotations

from typing import Any, TypeVar

from bpengine.system.lru_cache import LruCache

Value = TypeVar("Value")
_by_name: dict[str, LruCache[Any]] = {}


class ProcessCache(LruCache[Value]):
    """A cache that the whole process shares; `name` says what it holds."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__(most)
        _by_name[name] = self


def clear_caches() -> None:
    """Empty the caches that this process keeps for later models: backends, and functions compiled for equal networks.

    Existing models keep their functions. Caches on disk stay: `bpengine doctor --clear-cache` empties them.

    >>> bp.clear_caches()
    """
    for cache in list(_by_name.values()):
        cache.clear()


def limits() -> dict[str, int]:
    """Return how many entries each cache of the process keeps at most, by name."""
    return {name: cache.most for name, cache in sorted(_by_name.items())}
