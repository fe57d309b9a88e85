"""Spill: arrays stored for later, small ones in memory, large ones in unnamed temporary files."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from typing import IO, Any

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from bpengine.backend import Backend, HostArray
from bpengine.kernels._trees import Tree

SMALL = 2**20  # smaller trees are copied in memory (bytes)


class StoredTree:
    """A stored tree: a call loads a fresh copy of it."""

    def __init__(self, load: Callable[[], Any], last: Callable[[], Any]) -> None:
        self._load, self._last = load, last

    def __call__(self) -> Tree:
        """Return the tree."""
        return self._load()

    def for_good(self) -> Tree:
        """Return the tree for the last time; where memory is short, as a map of its file, which needs no memory."""
        try:
            return self._load()
        except MemoryError:
            return self._last()


class SpillStore:
    """Stores trees of arrays of one backend until the end of the `with` block.

    The files are deleted at the end of the block, or with the process. Where files cannot be written, memory is used.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self._open = backend, ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        self._on_disk = True

    def __enter__(self) -> SpillStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def is_large(self, tree: Tree) -> bool:
        """Say whether the arrays of a tree are large enough to be spilled to a file."""
        return _size(tree) * np.dtype(self._backend.dtype).itemsize > SMALL

    def keep(self, tree: Tree, place: str) -> StoredTree:
        """Store a tree under `place`, replacing the last one; return a function that loads a fresh copy."""
        if self._on_disk and self.is_large(tree):
            try:
                return self._write(tree, place)
            except OSError:  # the disk is full, or files cannot be written: use memory from now on
                self._on_disk = False
        held = self._backend.copy(tree)
        return StoredTree(lambda: self._backend.copy(held), lambda: held)

    def _write(self, tree: Tree, place: str) -> StoredTree:
        file = self._files[place] = self._files.get(place) or self._new_file()
        file.seek(0)
        form = mapped(lambda leaf: np.save(file, self._backend.to_numpy(leaf), allow_pickle=False), tree)

        def load() -> Tree:
            file.seek(0)
            return mapped(lambda _: self._backend.asarray(np.load(file, allow_pickle=False)), form)

        def map_in() -> Tree:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # valid after the file is closed
            file.seek(0)
            return mapped(lambda _: self._backend.asarray(_array_in(memory, file), copy=False), form)

        return StoredTree(load, map_in)

    def _new_file(self) -> IO[bytes]:
        return self._open.enter_context(tempfile.TemporaryFile(prefix="bpengine-", buffering=0))


def _array_in(memory: mmap.mmap, file: IO[bytes]) -> HostArray:
    """Return the next array of a .npy file as a part of its memory map, and move the file's position behind it."""
    read_header = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}[read_magic(file)]
    shape, in_columns, dtype = read_header(file)
    start, count = file.tell(), prod(shape)
    file.seek(start + count * dtype.itemsize)
    flat = np.frombuffer(memory, dtype, count, start)
    return flat.reshape(shape, order="F" if in_columns else "C")


def mapped(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """Return a tree of the same form with function(leaf) in place of each leaf."""
    if isinstance(tree, dict):
        return {key: mapped(function, value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [mapped(function, value) for value in tree]
    return function(tree)


def _size(tree: Tree) -> int:
    """Return the number of elements of all leaves."""
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else None
    return prod(tree.shape) if branches is None else sum(map(_size, branches))
