"""Memory pages of arrays mapped from files: fetched before they are read, dropped afterwards."""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import Any

import numpy as np

from bpengine.data.table import Array

NEAR_BYTES = 64 * 2**10  # rows no further apart are fetched together


def drop_pages(array: Array) -> None:
    """Drop the memory pages of a memory-mapped array; the file keeps its contents.

    Pages read from or written to a mapped file count as memory of this process until then. Does nothing for arrays in
    memory, for private copy-on-write maps (mode "c": their changes live only in these pages), and where the system
    has no such call.
    """
    pages = _pages(array)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def prefetch_rows(array: Array, rows: Array) -> None:
    """Tell the system which rows of a memory-mapped array will be read soon; `rows` are their numbers, ascending.

    It then reads only these rows, together; otherwise it reads up to megabytes around each accessed page, one after the other.
    Does nothing where `drop_pages` does nothing.
    """
    pages = _pages(array)
    if pages is None or not len(rows) or array.strides[0] <= 0 or not hasattr(mmap, "MADV_WILLNEED"):
        return
    origin = array.ctypes.data - np.frombuffer(pages, np.uint8).ctypes.data
    begin = origin + rows.astype(np.int64) * array.strides[0]
    gaps = np.flatnonzero(np.diff(begin) > NEAR_BYTES)
    first = begin[np.append(0, gaps + 1)] // mmap.PAGESIZE * mmap.PAGESIZE
    last = begin[np.append(gaps, len(rows) - 1)] + array.strides[0]
    with suppress(OSError):  # the call is only a hint
        for start, stop in zip(first.tolist(), last.tolist(), strict=True):
            pages.madvise(mmap.MADV_WILLNEED, start, stop - start)


def owner_of(array: Array) -> np.memmap[Any, Any] | None:
    """Return the memory-mapped array that an array is a view of; None for arrays in memory and private copy-on-write maps."""
    owner: object = array
    while owner is not None and not isinstance(owner, np.memmap):
        owner = getattr(owner, "base", None)
    return owner if isinstance(owner, np.memmap) and getattr(owner, "mode", "c") != "c" else None


def _pages(array: Array) -> mmap.mmap | None:
    """Return the map that holds an array, None for an array in memory."""
    pages = getattr(owner_of(array), "_mmap", None)
    return pages if isinstance(pages, mmap.mmap) else None
