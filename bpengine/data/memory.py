"""Walking through arrays larger than memory: block by block, giving pages back on the way."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

from bpengine.data.dataset import Array

BLOCK_BYTES = 32 * 2**20


def release(array: Array) -> None:
    """Give the memory pages of a memory-mapped array back to the system; the file keeps its contents.

    Pages read from or written to a mapped file count as memory of this process until then. Does nothing for arrays in
    memory, for private copy-on-write maps (mode "c": their changes live only in these pages), and where the system
    has no such call.
    """
    owner: object = array
    while owner is not None and not isinstance(owner, np.memmap):
        owner = getattr(owner, "base", None)
    if not isinstance(owner, np.memmap) or getattr(owner, "mode", "c") == "c":
        return
    pages = getattr(owner, "_mmap", None)
    if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def blocks(array: Array) -> Iterator[tuple[int, Array]]:
    """Yield (first row, rows) for consecutive pieces of at most 32 MiB (at least one row), releasing each after use."""
    row_bytes = max(1, array.nbytes // max(1, len(array)))
    step = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, len(array), step):
        yield start, array[start : start + step]
        release(array)
