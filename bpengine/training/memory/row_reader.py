"""Rows of an array in memory or on disk, read into buffers without holding more of a file than is needed."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np

from bpengine.backend import HostArray
from bpengine.data import RowFile, drop_pages, prefetch_rows, runs_of

STRETCH_BYTES = 128 * 2**20  # how much of a file on disk is read before its pages are dropped
ALIGN = 64  # bytes; JAX shares the memory of an array at an aligned address and copies any other


class RowReader:
    """Reads rows of one array, in `dtype` or that of the array, into two buffers used alternately.

    A returned array is valid until the second read after it. Buffers are reused because allocating new ones would take
    longer than reading: the system clears every new page first.
    """

    def __init__(self, array: HostArray, dtype: str | None = None) -> None:
        self._array, self._file = array, RowFile.behind(array)
        self._raw = _Buffer(array, array.dtype)
        self._buffers = deque([_Buffer(array, np.dtype(dtype or array.dtype)) for _ in range(2)])

    def prefetch_rows(self, rows: HostArray, runs: HostArray | None = None) -> None:
        """Tell the system which rows will be read soon, so that the disk fetches them before they are needed.

        The row numbers must ascend. `runs` is runs_of(rows), for a caller that has it already.
        """
        if self._file:
            self._file.prefetch_rows(runs_of(rows) if runs is None else runs)
        elif isinstance(self._array, np.memmap):
            prefetch_rows(self._array, rows)

    def read(self, rows: HostArray, runs: HostArray | None = None) -> HostArray:
        """Return the given rows, copied into memory; see `prefetch_rows` for the arguments."""
        self._buffers.rotate()
        result = self._buffers[0].first(len(rows))
        read = result if result.dtype == self._array.dtype else self._raw.first(len(rows))
        if self._file:
            self._file.read(runs_of(rows) if runs is None else runs, read)
        else:
            _copy(self._array, rows, read)
        if read is not result:
            np.copyto(result, read, casting="unsafe")
        return result


class _Buffer:
    """Memory for rows of the shape of an array's rows; it grows when more of them are asked for."""

    def __init__(self, like: HostArray, dtype: np.dtype[np.generic]) -> None:
        self._row, self._dtype = like.shape[1:], dtype
        self._memory = _empty((0, *self._row), dtype)

    def first(self, rows: int) -> HostArray:
        """Return memory for so many rows."""
        if len(self._memory) < rows:
            self._memory = _empty((rows, *self._row), self._dtype)
        return self._memory[:rows]


def _copy(array: HostArray, rows: HostArray, picked: HostArray) -> None:
    """Copy rows, and drop the pages of the file they came from.

    The system reads up to megabytes around every page that is touched. So one stretch of the file is read at a time, and
    its pages are dropped before the next.
    """
    if not isinstance(array, np.memmap):
        np.take(array, rows, axis=0, out=picked, mode="clip")  # the mode "raise" would make another copy
        return
    stretch = max(1, STRETCH_BYTES * len(array) // max(1, array.nbytes))
    cuts = np.searchsorted(rows, np.arange(0, len(array) + stretch, stretch))
    for start, stop in pairwise(cuts):
        if start < stop:
            np.take(array, rows[start:stop], axis=0, out=picked[start:stop], mode="clip")
            drop_pages(array)


def _empty(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> HostArray:
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size].view(dtype).reshape(shape)
