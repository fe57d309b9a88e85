"""Spill: arrays stored for later, small ones in memory, large ones in unnamed temporary files."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from math import prod
from typing import Any, Literal

import numpy as np

from bpengine.backend import Backend, HostArray
from bpengine.kernels._trees import Tree
from bpengine.output import opening

SMALL = 2**20  # smaller trees are copied in memory (bytes)
ALIGN = 64  # bytes; where the elements of an array begin in a file


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
        self._files: dict[str, FileIO] = {}
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
        form = mapped(lambda leaf: _write_array(self._backend.to_numpy(leaf), file), tree)

        def load() -> Tree:
            return mapped(lambda stored: self._backend.asarray(_read_array(stored, file)), form)

        def map_in() -> Tree:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # valid after the file is closed
            return mapped(lambda stored: self._backend.asarray(_array_in(memory, stored), copy=False), form)

        return StoredTree(load, map_in)

    def _new_file(self) -> FileIO:
        return self._open.enter_context(opening.nameless_file())


@dataclass(frozen=True)
class _StoredArray:
    """An array in a file: where its elements begin, and in which order ("C" or "F") they lie there."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]


# np.save and np.load are not used: their calls of C take a Ctrl-C for a path, and raise TypeError in its place.
def _write_array(array: HostArray, file: FileIO) -> _StoredArray:
    """Write an array at the next aligned position of a file."""
    in_columns = array.flags.f_contiguous and not array.flags.c_contiguous
    elements = np.ascontiguousarray(array.T if in_columns else array).reshape(-1)
    start = file.seek(-(-file.tell() // ALIGN) * ALIGN)
    rest = elements.view(np.uint8).data
    while rest:
        rest = rest[file.write(rest) :]
    return _StoredArray(start, array.shape, array.dtype, "F" if in_columns else "C")


def _read_array(stored: _StoredArray, file: FileIO) -> HostArray:
    elements = np.empty(prod(stored.shape), stored.dtype)
    file.seek(stored.start)
    rest = elements.view(np.uint8).data
    while rest:
        if not (count := file.readinto(rest)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[count:]
    return elements.reshape(stored.shape, order=stored.order)


def _array_in(memory: mmap.mmap, stored: _StoredArray) -> HostArray:
    """Return an array as a part of the memory map of its file."""
    elements = np.frombuffer(memory, stored.dtype, prod(stored.shape), stored.start)
    return elements.reshape(stored.shape, order=stored.order)


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
