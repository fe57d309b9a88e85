"""Reading: pieces of arrays in memory or on disk, without holding more of a file than is needed."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np

from bpengine.backend import HostArray
from bpengine.data import RowFile, announce, release, runs_of

STRETCH_BYTES = 128 * 2**20  # how much of a file on disk is mapped at a time
ALIGN = 64  # bytes; JAX shares the memory of an array that begins at such an address, and copies any other


class Reader:
    """Reads pieces of one array, as `dtype` or that of the array, into two buffers that take turns.

    A piece is gone when the next but one is read. New memory for each would cost more than what is read into it: the
    system clears every page first.
    """

    def __init__(self, array: HostArray, dtype: str | None = None) -> None:
        self._array, self._file = array, RowFile.behind(array)
        self._raw = _Buffer(array, array.dtype)
        self._turns = deque([_Buffer(array, np.dtype(dtype or array.dtype)) for _ in range(2)])

    def announce(self, rows: HostArray, runs: HostArray | None = None) -> None:
        """Say which rows will be read soon, so that the disk may fetch them meanwhile.

        Their numbers must ascend; `runs` are those of `runs_of`, where they are known.
        """
        if self._file:
            self._file.announce(runs_of(rows) if runs is None else runs)
        elif isinstance(self._array, np.memmap):
            announce(self._array, rows)

    def read(self, rows: HostArray, runs: HostArray | None = None) -> HostArray:
        """Copy the given rows into memory (see `announce`)."""
        self._turns.rotate()
        made = self._turns[0].first(len(rows))
        read = made if made.dtype == self._array.dtype else self._raw.first(len(rows))
        if self._file:
            self._file.read(runs_of(rows) if runs is None else runs, read)
        else:
            _copy(self._array, rows, read)
        if read is not made:
            np.copyto(made, read, casting="unsafe")
        return made


class _Buffer:
    """Memory for rows like those of an array, which grows as it is needed."""

    def __init__(self, like: HostArray, dtype: np.dtype[np.generic]) -> None:
        self._row, self._dtype = like.shape[1:], dtype
        self._memory = _empty((0, *self._row), dtype)

    def first(self, rows: int) -> HostArray:
        """Return the first rows of the memory."""
        if len(self._memory) < rows:
            self._memory = _empty((rows, *self._row), self._dtype)
        return self._memory[:rows]


def _copy(array: HostArray, rows: HostArray, picked: HostArray) -> None:
    """Copy rows, and let go of the pages of the file they came from.

    The system maps up to megabytes around every page that is touched. So a stretch of the file is read at a time and
    given back before the next.
    """
    if not isinstance(array, np.memmap):
        np.take(array, rows, axis=0, out=picked, mode="clip")  # "raise" would copy once more
        return
    stretch = max(1, STRETCH_BYTES * len(array) // max(1, array.nbytes))
    cuts = np.searchsorted(rows, np.arange(0, len(array) + stretch, stretch))
    for start, stop in pairwise(cuts):
        if start < stop:
            np.take(array, rows[start:stop], axis=0, out=picked[start:stop], mode="clip")
            release(array)


def _empty(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> HostArray:
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size].view(dtype).reshape(shape)
