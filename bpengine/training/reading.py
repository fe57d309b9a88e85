"""Reading: rows of an array in memory or on disk, copied into memory without holding more of the file than is needed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bpengine.backend import HostArray
from bpengine.data import announce, release

STRETCH_BYTES = 128 * 2**20  # how much of a file on disk is mapped at a time
ALIGN = 64  # bytes; JAX shares the memory of an array that begins at such an address, and copies any other


def gather(array: HostArray, rows: HostArray) -> HostArray:
    """Copy the given rows, whose numbers must ascend, into memory, and let go of the pages of the file they came from.

    The system maps up to megabytes around every page that is touched. So a stretch of the file is read at a time and
    given back before the next. All that will be read is announced first: the disk is then asked for it at once.
    """
    picked = _empty((len(rows), *array.shape[1:]), array.dtype)
    if not isinstance(array, np.memmap):
        return np.take(array, rows, axis=0, out=picked, mode="clip")
    announce(array, rows)
    stretch = max(1, STRETCH_BYTES * len(array) // max(1, array.nbytes))
    cuts = np.searchsorted(rows, np.arange(0, len(array) + stretch, stretch))
    for start, stop in pairwise(cuts):
        if start < stop:
            np.take(
                array, rows[start:stop], axis=0, out=picked[start:stop], mode="clip"
            )  # "raise" would copy once more
            release(array)
    return picked


def _empty(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> HostArray:
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size].view(dtype).reshape(shape)
