"""Encoded rows that lie in one file for all processes of a machine: each encodes a part of the rows, and maps all of them."""

from __future__ import annotations

import os
import platform
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bpengine.data.table import Array
from bpengine.distributed.comm import Comm
from bpengine.errors import WriteError, in_english
from bpengine.output.opening import PRIVATE, opener, temporary_path

IN_MEMORY = 512 * 2**20  # bytes of an encoded table; a larger one goes into a file


class RowTarget(NamedTuple):
    """The destination of encoded rows: the array (rows, inputs), the rows that this process encodes, and the others."""

    array: Array
    rows: range
    ranks: tuple[int, ...]


def target(shape: tuple[int, int], dtype: str, where: str | None, comm: Comm) -> RowTarget:
    """Return an empty array in memory, or in a temporary file where it is large; the file is deleted with the array.

    where: a folder with room for the file, by default the system's. comm: processes that encode the same rows; those of one
    machine share the file.
    Raises: WriteError where a file is needed and the disk is full.
    """
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return RowTarget(np.empty(shape, dtype), range(shape[0]), (comm.rank,))
    return _shared(shape, dtype, _writable(where), comm)


def _shared(shape: tuple[int, int], dtype: str, folder: str | None, comm: Comm) -> RowTarget:
    """Let the first process of each machine create the file, and the others map it."""
    hosts = [name.tobytes() for name in comm.gather(np.frombuffer(platform.node().encode() or b"?", np.uint8))]
    mine = hosts[comm.rank]
    ranks = tuple(rank for rank, host in enumerate(hosts) if host == mine)
    at, count = ranks.index(comm.rank), len(ranks)
    array = problem = None
    if at == 0:
        try:
            array = _created(shape, dtype, folder)
        except WriteError as error:
            problem = in_english(error)
    if problem := comm.first(problem):
        raise WriteError(problem)
    for host in dict.fromkeys(hosts):
        path = comm.first(str(array.filename) if array is not None and host == mine else None)
        if array is None and host == mine:
            array = np.memmap(str(path), dtype, "r+", shape=shape)
    comm.any(False)  # all processes have mapped the file, so its creator may remove it
    assert array is not None
    return RowTarget(array, range(shape[0] * at // count, shape[0] * (at + 1) // count), ranks)


def _created(shape: tuple[int, int], dtype: str, folder: str | None) -> np.memmap[Any, Any]:
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    path = temporary_path(".rows", folder)
    try:
        with open(path, "x+b", buffering=0, opener=opener(mode=PRIVATE)) as file:
            if hasattr(os, "posix_fallocate"):  # without reserved space a full disk ends the process
                os.posix_fallocate(file.fileno(), 0, size)
        array = np.memmap(path, dtype, "r+" if hasattr(os, "posix_fallocate") else "w+", shape=shape)
        _remove_with(array, str(path))
    except BaseException as error:  # Ctrl-C as well
        path.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise WriteError(f"the encoded rows require {size:,} bytes of disk: {error.strerror}. Make room.") from None
    return array


def _remove_with(array: np.memmap[Any, Any], path: str) -> None:
    # the memory map itself, which outlives the array where views of it are kept; NumPy states no type of that attribute
    weakref.finalize(vars(array)["_mmap"], lambda: Path(path).unlink(missing_ok=True))


def _writable(folder: str | None) -> str | None:
    """Return a folder with room for a large file: that of the columns, if it is writable."""
    return folder if folder is not None and os.access(folder, os.W_OK) else None
