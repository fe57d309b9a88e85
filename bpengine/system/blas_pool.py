"""The number of threads that NumPy's matrix products use, limited for the duration of a block.

The pool belongs to the process. While several blocks are active, the smallest limit holds; after the last one, the earlier
number is restored.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class ThreadedLibrary(Protocol):
    """A library whose number of threads can be set."""

    filepath: str

    @property
    def num_threads(self) -> int:
        """The number of threads of the next product."""

    def set_num_threads(self, num_threads: int) -> None:
        """Set it."""


class BlasPool:
    """The BLAS libraries of the process whose number of threads can be set."""

    def __init__(self, libraries: list[Any] | None = None) -> None:
        self._libraries = libraries
        self._asked: list[list[int]] = []
        self._before: list[int] = []
        self._lock = threading.RLock()

    @property
    def threads(self) -> int:
        """The number of threads that products use now; 1 where no library reports it."""
        return max((int(library.num_threads) for library in self._known()), default=1)

    @contextmanager
    def limited(self, threads: int) -> Iterator[None]:
        """Let products use so many threads."""
        limit = [threads]  # a distinct object: two blocks may set the same number
        try:
            with self._lock:
                if not self._asked:
                    self._before = [library.num_threads for library in self._known()]
                self._asked.append(limit)
                self._set()
            yield
        finally:
            try:
                self._lift(limit)
            finally:  # also where Ctrl-C comes within the call above
                self._lift(limit)

    def add(self, library: ThreadedLibrary) -> None:
        """Add a library that was loaded after the search, unless it was found; active limits hold for it, too."""
        with self._lock:
            known = self._known()
            if any(one.filepath == library.filepath for one in known):
                return
            known.append(library)
            if self._before:
                self._before.append(library.num_threads)
                self._set()

    def _lift(self, limit: list[int]) -> None:
        with self._lock:
            self._asked = [asked for asked in self._asked if asked is not limit]
            if self._before:  # otherwise the block was interrupted before it set anything
                self._set()

    def _set(self) -> None:
        for library, before in zip(self._known(), self._before, strict=True):
            (wanted,) = min(self._asked, default=[before])
            if library.num_threads != wanted:
                library.set_num_threads(wanted)

    def _known(self) -> list[Any]:
        """Return the libraries; they are searched once, when NumPy's is loaded."""
        if self._libraries is None:
            from threadpoolctl import ThreadpoolController  # not at the top: few processes set threads

            self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        return self._libraries

    def unlock(self) -> None:
        """Reset the limits in the child of a fork, where the threads that set them do not exist."""
        self._lock = threading.RLock()


BLAS_POOL = BlasPool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=BLAS_POOL.unlock)
