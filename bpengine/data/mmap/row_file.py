"""Rows of arrays mapped from files: read from the file behind the map, and the memory pages of the map.

Rows are read without touching a page of the map. Reading through the map adds a page fault every few pages to the cost of the
copy, and up to megabytes around each page count as memory of this process until they are dropped.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bpengine.data.table import Array
from bpengine.errors import DataError
from bpengine.output.opening import AT_ONCE, opener

MAPS = Path("/proc/self/maps")  # Linux: which file lies at which address
BLOCK_BYTES = 32 * 2**20
NEAR_BYTES = 64 * 2**10  # rows that lie no further apart are read, or fetched, together


class Place(NamedTuple):
    """The file behind an address: its identity (device, inode), the position in it, and the address where the map ends."""

    file: tuple[str, str]
    position: int
    end: int


class RowFile:
    """Rows of an array that is memory-mapped in C order, read from its file."""

    _file: FileIO | None = None

    def __init__(self, file: FileIO, position: int, row_bytes: int) -> None:
        self._file, self._position, self._row_bytes = file, position, row_bytes
        self._descriptor = file.fileno()

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()  # if Ctrl-C comes before this call, the file object closes itself

    @classmethod
    def behind(cls, array: Array) -> RowFile | None:
        """Return the file of a memory-mapped array; None where the system does not report it, or rows are not contiguous.

        The file of that name may have been replaced since. It is used only if it is the mapped file.
        Raises DataError when it has become shorter: accessing a missing page would end the process.
        """
        owner = owner_of(array)
        if owner is None or not owner.filename or not array.ndim or not array.nbytes or not array.flags.c_contiguous:
            return None
        place = _place_of(array.ctypes.data)
        if place is None:
            return None
        opened = _opened(str(owner.filename))
        if opened is None:
            return None
        file = cls(opened, place.position, array.nbytes // len(array))  # closes the file, also on an error
        descriptor = opened.fileno()
        size, same = os.fstat(descriptor).st_size, _mapped_as(descriptor) == place.file
        if size < place.position + array.nbytes and (same or not size):
            raise _shorter(size)
        return file if same and place.end >= array.ctypes.data + array.nbytes else None

    def prefetch_rows(self, runs: Array) -> None:
        """Tell the system that these runs of rows (see `runs_of`) will be read soon, so that the disk fetches them all."""
        bytes_ = self._bytes(runs)
        apart = np.flatnonzero(bytes_[1:, 0] - bytes_[:-1, 1] > NEAR_BYTES)
        starts, stops = bytes_[np.append(0, apart + 1), 0], bytes_[np.append(apart, len(runs) - 1), 1]
        with suppress(OSError):  # the call is only a hint
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                os.posix_fadvise(self._descriptor, start, stop - start, os.POSIX_FADV_WILLNEED)

    announce = prefetch_rows  # its earlier name

    def read(self, runs: Array, target: Array) -> None:
        """Copy these runs of rows (see `runs_of`) into `target` (rows, ...), one after the other.

        Raises DataError when the file has become shorter.
        """
        memory, filled = memoryview(target.reshape(-1).view(np.uint8).data), 0
        for start, stop in self._bytes(runs).tolist():
            while start < stop:
                count = os.preadv(self._descriptor, [memory[filled : filled + stop - start]], start)
                if not count:
                    raise _shorter(start)
                start, filled = start + count, filled + count

    def _bytes(self, runs: Array) -> Array:
        """Return (start, stop) in bytes of the file for each run of rows."""
        return runs.astype(np.int64) * self._row_bytes + self._position


def blocks(array: Array) -> Iterator[tuple[int, Array]]:
    """Yield (first row, rows) for consecutive pieces of at most 32 MiB (at least one row), each valid until the next.

    Raises DataError when the array is mapped from a file that has become shorter.
    """
    row_bytes = max(1, array.nbytes // max(1, len(array)))
    step, file = max(1, BLOCK_BYTES // row_bytes), RowFile.behind(array)
    buffer = np.empty((min(step, len(array)), *array.shape[1:]), array.dtype) if file else array
    for start in range(0, len(array), step):
        stop = min(start + step, len(array))
        if file:
            file.read(np.array([[start, stop]]), buffer[: stop - start])
            yield start, buffer[: stop - start]
        else:
            yield start, array[start:stop]
            drop_pages(array)


def in_memory(array: Array) -> Array:
    """Return a memory-mapped array as a copy in memory; any other array itself.

    Raises DataError when the file has become shorter.
    """
    file = RowFile.behind(array)
    if file is None:
        return array
    read = np.empty(array.shape, array.dtype)
    file.read(np.array([[0, len(array)]]), read)
    return read


def _opened(path: str) -> FileIO | None:
    try:
        return open(path, "rb", buffering=0, opener=opener(AT_ONCE))
    except OSError:
        return None


def _shorter(end: int) -> DataError:
    return DataError(
        f"a memory-mapped file ends at byte {end}, before rows that it had when it was opened. "
        "Leave a file as it is while it is in use."
    )


def runs_of(rows: Array) -> Array:
    """Return (start, stop) of each run of consecutive numbers (n, 2) in ascending row numbers; `stop` is excluded."""
    ends = np.flatnonzero(np.diff(rows) != 1)
    return np.stack([rows[np.append(0, ends + 1)], rows[np.append(ends, len(rows) - 1)] + 1], axis=1)


def _place_of(address: int) -> Place | None:
    """Return the file mapped at an address; None where there is none or the system does not report it."""
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        span, _, offset, device, inode = line.split(maxsplit=5)[:5]
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end and inode != "0":
            return Place((device, inode), int(offset, 16) + address - start, end)
    return None


def _mapped_as(descriptor: int) -> tuple[str, str] | None:
    """Return the identity under which an open file is mapped: on a layered file system `fstat` may report another."""
    try:
        first = np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), np.uint8, 1)
    except (OSError, ValueError):  # no file that can be mapped, or an empty one
        return None
    place = _place_of(first.ctypes.data)
    return place and place.file


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
