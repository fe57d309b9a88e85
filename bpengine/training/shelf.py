"""A shelf for arrays: small ones are kept in memory, large ones in files without a name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from typing import IO, Any

import numpy as np

from bpengine.backend import Backend

SMALL = 2**20  # bytes that may be held twice more


class Shelf:
    """Keeps trees of arrays of one backend, until the end of the `with` block.

    The files vanish at the end of the block, or with the process. Where files cannot be written, memory is used.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self._open = backend, ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        self._on_disk = True

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def is_large(self, tree: Any) -> bool:
        """Say whether the arrays of a tree would go to a file."""
        return _size(tree) * np.dtype(self._backend.dtype).itemsize > SMALL

    def keep(self, tree: Any, place: str) -> Callable[[], Any]:
        """Keep a tree in place of what was kept there; return what gives it again, each time as arrays of its own."""
        if self._on_disk and self.is_large(tree):
            try:
                return self._write(tree, place)
            except OSError:  # a full disk, or none
                self._on_disk = False
        held = self._backend.copy(tree)
        return lambda: self._backend.copy(held)

    def _write(self, tree: Any, place: str) -> Callable[[], Any]:
        file = self._files[place] = self._files.get(place) or self._new_file()
        file.seek(0)
        form = _mapped(lambda leaf: np.save(file, self._backend.to_numpy(leaf), allow_pickle=False), tree)

        def load() -> Any:
            file.seek(0)
            return _mapped(lambda _: self._backend.asarray(np.load(file, allow_pickle=False)), form)

        return load

    def _new_file(self) -> IO[bytes]:
        return self._open.enter_context(tempfile.TemporaryFile(prefix="bpengine-", buffering=0))


def _mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return a tree of the same form with the results for its leaves."""
    if isinstance(tree, dict):
        return {key: _mapped(function, value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_mapped(function, value) for value in tree]
    return function(tree)


def _size(tree: Any) -> int:
    """Return the number of elements of all leaves."""
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else None
    return prod(tree.shape) if branches is None else sum(map(_size, branches))
