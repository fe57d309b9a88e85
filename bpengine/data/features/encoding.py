"""Tables to arrays, block by block: into memory, or into a temporary memory-mapped file where they are large."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bpengine.data.features.learned_columns import LearnedColumn
from bpengine.data.mmap.pages import drop_pages
from bpengine.data.table import Array, Table
from bpengine.errors import DataError, WriteError

BLOCK_VALUES = 4_000_000  # inputs at once
IN_MEMORY = 512 * 2**20  # bytes of an encoded table; a larger one goes into a file


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows x (rows, inputs) as a network takes them: a model with Features takes them without encoding them again."""

    x: Array

    def __len__(self) -> int:
        return len(self.x)


def encode(table: Table, columns: Sequence[LearnedColumn], names: Sequence[str], dtype: str) -> Array:
    """Return the inputs (rows, inputs) of a table, whose column `names[i]` is `columns[i]`.

    Raises: DataError naming the column and row of a cell that cannot be encoded; WriteError where a file is needed and the
    disk is full.
    """
    pairs = [(c, n) for c, n in zip(columns, names, strict=True) if c.input_names]
    places = np.cumsum([0, *(len(c.input_names) for c, _ in pairs)])
    out = _empty((len(table), int(places[-1])), dtype, table.where)
    unknown = dict.fromkeys((n for _, n in pairs), 0)
    step = max(1, BLOCK_VALUES // max(1, out.shape[1]))
    for start in range(0, len(table), step):
        stop = min(start + step, len(table))
        block = np.empty((stop - start, out.shape[1]))
        for (column, name), at, end in zip(pairs, places[:-1], places[1:], strict=True):
            unknown[name] += column.encode(table.block(name, start, stop), block[:, at:end], start)
        out[start:stop] = block
        _drop(table, out)
    _warn(unknown, columns, names)
    return out


def _empty(shape: tuple[int, int], dtype: str, where: str | None) -> Array:
    """Return an array to be filled; a large one in a file that has no name any more, and vanishes with the array."""
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    handle, path = tempfile.mkstemp(prefix="bpengine-", suffix=".rows", dir=_folder(where))
    try:
        if hasattr(os, "posix_fallocate"):  # without the reservation a full disk ends the process
            os.posix_fallocate(handle, 0, size)
        array = np.memmap(path, dtype, "r+" if hasattr(os, "posix_fallocate") else "w+", shape=shape)
    except OSError as error:
        Path(path).unlink(missing_ok=True)
        raise WriteError(f"the encoded rows require {size:,} bytes of disk: {error.strerror}. Make room.") from None
    finally:
        os.close(handle)
    _remove_with(array, path)
    return array


def _remove_with(array: Any, path: str) -> None:
    import weakref

    weakref.finalize(array._mmap, lambda: Path(path).unlink(missing_ok=True))


def _folder(where: str | None) -> str | None:
    """Return where there is room for a large file: beside the columns themselves, if one may write there."""
    return where if where is not None and os.access(where, os.W_OK) else None


def _drop(table: Table, out: Array) -> None:
    drop_pages(out)
    for name in table:
        drop_pages(table.whole(name))


def _warn(unknown: dict[str, int], columns: Sequence[LearnedColumn], names: Sequence[str]) -> None:
    kept = {name: column for column, name in zip(columns, names, strict=True)}
    for name, count in unknown.items():
        if count and not getattr(kept[name], "other", False):  # else they are read as the rare ones are
            warnings.warn(
                f"column {name!r} has values in {count:,} rows that the training rows did not have; they are read as none of "
                "the known ones.",
                stacklevel=4,
            )


def require_matching(missing: Sequence[str], strange: Sequence[str]) -> None:
    """Raise DataError naming the columns that are missing, and those that are not known."""
    if missing:
        extra = f" Not known: {', '.join(map(repr, strange[:8]))}." if strange else ""
        raise DataError(
            f"the model requires the columns {', '.join(map(repr, missing[:8]))}{', ...' * (len(missing) > 8)}, which are not "
            f"there.{extra} Give rows like those it was trained on."
        )
