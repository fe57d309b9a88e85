"""Stamps: a hash at the end of two .npy files, behind the array, that says whether they were written together.

Two files cannot be renamed in one step: a process that is killed in between leaves one of them new and the other old, and a
reader may open the files between the two renames. So both files of a pair end with one hash of the contents of both, and
files with different stamps are refused. Files without a stamp, from other programs, are accepted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bpengine.data.table import Array
from bpengine.errors import DataError

MARK = b"bpengine pair 1 "
_DIGEST = 32
STAMP_BYTES = len(MARK) + _DIGEST


class Stamp:
    """The stamp of a pair, computed while its rows are written."""

    def __init__(self) -> None:
        self._sums = tuple(hashlib.blake2b(digest_size=_DIGEST) for _ in range(2))

    def add(self, *rows: Array) -> None:
        """Add further rows of x and y."""
        for one, array in zip(self._sums, rows, strict=True):
            one.update(array.data.cast("B"))

    def finished(self) -> bytes:
        """Return the bytes that both files end with."""
        return MARK + hashlib.blake2b(b"".join(one.digest() for one in self._sums), digest_size=_DIGEST).digest()


@contextmanager
def one_pair(x_file: Path, y_file: Path) -> Iterator[None]:
    """Raise DataError unless two files are a pair before and after the block that reads them."""
    before = stamp_of(x_file), stamp_of(y_file)
    yield
    if before != (stamp_of(x_file), stamp_of(y_file)):
        raise DataError(f"{x_file} and {y_file} were written anew while they were read. Read them again.")
    if all(before) and before[0] != before[1]:
        raise DataError(
            f"{x_file} and {y_file} were not written together: x is of one data set and y of another. Their writer was "
            "interrupted, or is still writing: write them again. If they belong together, save one anew with np.save."
        )


def stamp_of(path: Path) -> bytes | None:
    """Return the stamp of a file, None where it has none."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(-min(len(MARK) + _DIGEST, os.fstat(file.fileno()).st_size), os.SEEK_END)
        end = file.read(len(MARK) + _DIGEST)
        return end if end.startswith(MARK) else None
    return None
