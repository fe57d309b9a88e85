"""Large tables kept as memory-mapped columns: a folder of one .npy file for each, and their description as JSON.

A table is converted once, in pieces, completely or not at all; reading the folder again takes next to no time or memory.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from bpengine.data.table import Table, TableColumn
from bpengine.data.tables.byte_streams import decompressed_size
from bpengine.data.tables.column_writer import ColumnWriter
from bpengine.data.tables.csv_table import CELLS, STANDARD_INPUT, contents_of, frames, layout_of, named, source
from bpengine.data.tables.data_frames import table_of
from bpengine.data.tables.layout import TextOptions
from bpengine.data.tables.parquet_table import is_parquet, opened_parquet, read_parquet_table
from bpengine.data.validation.options import check_options
from bpengine.data.validation.reading import existing, is_array_file
from bpengine.errors import ConfigError, DataError, WriteError
from bpengine.i18n.language import localized
from bpengine.output import writing
from bpengine.output.long_work import watched
from bpengine.output.writing import write_whole

FORMAT: Final = "bpengine table 1"
DESCRIPTION: Final = "table.json"
ABOVE: Final = 256 * 2**20  # bytes of a table, decompressed, from which on a table is converted automatically


def convert(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], *, force: bool = False, **options: Any
) -> Path:
    """Convert a text table or Parquet file into a folder that `load` reads as memory-mapped columns; return the folder.

    The table is read in pieces, so that it may be larger than memory. options: those of `load` for a table's text.
    Raises: DataError naming the file; ConfigError for a file of arrays, or an unknown option; WriteError when the folder
    exists (unless `force`), holds anything but a converted table, or cannot be written.
    """
    file, target = Path(path) if str(path) == STANDARD_INPUT else existing(path), Path(folder)
    if is_array_file(file):
        raise ConfigError(
            f"convert requires a table, text or Parquet, got {file}. Arrays are given to train as they are."
        )
    if target.exists() and not force:
        raise WriteError(f"{str(target)!r} exists already. Choose another folder, or pass --force (force=True).")
    _require_own(target)
    with _draft_beside(target) as draft:
        if str(path) != STANDARD_INPUT and is_parquet(file):
            check_options(str(file), read_parquet_table, options)
            rows, described = _from_parquet(file, draft, **options)
        else:
            check_options(str(file), TextOptions, options)
            rows, described = _from_text(file, draft, TextOptions(**options))
        description = {"format": FORMAT, "rows": rows, "source": _stamp(file, options), **described}
        write_whole(draft / DESCRIPTION, json.dumps(description).encode())
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
    return target


def _require_own(target: Path) -> None:
    """Raise WriteError for a folder that is not empty and was not written by `convert`: it would be deleted."""
    if target.is_dir() and not is_converted(target) and any(target.iterdir()):
        raise WriteError(
            f"the folder {str(target)!r} cannot be written: {os.strerror(errno.ENOTEMPTY)}. Choose another."
        )


def is_converted(path: Path) -> bool:
    """Return whether a folder is a converted table."""
    return path.is_dir() and (path / DESCRIPTION).is_file()


def read_converted(folder: Path) -> Table:
    """Return a converted table; its columns are memory-mapped.

    Raises: DataError for a folder that is damaged or was not written by `convert`.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        if description["format"] != FORMAT:
            raise ValueError(f"it is of the format {description['format']!r}")
        columns = {
            c["name"]: _mapped(folder, at, c, description["rows"]) for at, c in enumerate(description["columns"])
        }
        return Table(columns, named=bool(description["named"]), where=str(folder))
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise DataError(f"{folder} is no converted table, or damaged: {error}. Convert the table again.") from None


def _mapped(folder: Path, at: int, description: dict[str, Any], rows: int) -> TableColumn:
    values = np.lib.format.open_memmap(folder / f"{at}.npy", mode="r")
    categories = None if description["categories"] is None else tuple(map(str, description["categories"]))
    if values.shape != (rows,) or values.dtype.kind not in "biufM":
        raise ValueError(f"column {description['name']!r} has the shape {values.shape} of {values.dtype}")
    return TableColumn(values, categories, bool(description["yes_no"]))


def automatic(path: Path, **options: Any) -> Table | None:
    """Return a table that is too large to be read at once from its converted copy beside it, which is made if there is none.

    None for a smaller table. A warning says that a copy is made.
    """
    if str(path) == STANDARD_INPUT or _size(path, options.get("max_bytes")) <= ABOVE:
        return None
    copy = path.with_name(path.name + ".bpengine")
    if not _is_of(copy, path, options):
        if not is_parquet(path):
            # an error about the file comes before the warning about a copy
            layout_of(path, str(path), TextOptions(**options))
        warnings.warn(
            localized(
                f"{path} is large: it is converted once, in pieces, into the folder {copy}, from which it is then read."
            ),
            stacklevel=2,
        )
        with _alone_with(path):
            if not _is_of(copy, path, options):  # otherwise another process has made it in the meantime
                convert(path, copy, force=True, **options)
    return read_converted(copy)


def _is_of(copy: Path, path: Path, options: dict[str, Any]) -> bool:
    """Return whether a copy was made from the present content of a table."""
    if not is_converted(copy):
        return False
    try:
        described = json.loads((copy / DESCRIPTION).read_text())
    except (OSError, ValueError, RecursionError):  # damaged: the copy is made again
        return False
    return isinstance(described, dict) and described.get("source") == _stamp(path, options)


@contextmanager
def _alone_with(path: Path) -> Iterator[None]:
    """Wait until no other process converts this file, so that only one does."""
    locks = writing.locks
    if locks is None:
        yield
        return
    with path.open("rb", buffering=0) as file:
        with suppress(OSError):  # a file system without locks: the copy of the last process remains
            locks.flock(file, locks.LOCK_EX)
        yield


def _size(path: Path, max_bytes: int | None) -> int:
    """Return the approximate size of a table; raise DataError for a Parquet file above the limit."""
    if not is_parquet(path):
        return decompressed_size(path, ABOVE)
    with opened_parquet(path, max_bytes) as columns, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings are given when the table is read
        return max(columns.least_bytes(), 4 * columns.rows * len(columns.names))


def _stamp(path: Path, options: dict[str, Any]) -> list[Any]:
    if str(path) == STANDARD_INPUT:
        return []
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, json.loads(json.dumps(options, default=str))]


@contextmanager
def _draft_beside(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside the final one; it is removed unless it has been renamed to that."""
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.absolute().parent))
    except OSError as error:
        raise WriteError(f"the folder {str(target)!r} cannot be written: {error.strerror}. Choose another.") from None
    try:
        yield draft
    except OSError as error:
        raise WriteError(f"the folder {str(target)!r} cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _from_parquet(
    path: Path, draft: Path, max_bytes: int | None = None, na_values: Sequence[str] = ()
) -> tuple[int, dict[str, Any]]:
    with opened_parquet(path, max_bytes, na_values) as columns:
        names, rows = columns.names, columns.rows
        _require_space(path, draft, 4 * rows * len(names))
        writers = [ColumnWriter(draft / f"{at}.npy", name, rows) for at, name in enumerate(names)]
        for piece in watched(f"converting {path}", columns.pieces(), columns.share):
            for writer in writers:
                writer.add(piece[writer.name])
    return rows, {"columns": [writer.finished() for writer in writers], "named": True}


def _from_text(path: Path, draft: Path, options: TextOptions) -> tuple[int, dict[str, Any]]:
    with source(path, options) as (file, shown):
        layout = layout_of(file, shown, options)
        pieces = max(1, CELLS // layout.width)
        with frames(file, shown, layout, options, f"looking through {shown}") as read:
            rows, text, used = contents_of(read(chunksize=pieces), layout.width)
        if rows == 0:
            raise DataError(f"{shown} requires at least one row below its header, got none.")
        names = layout.names_of(used)
        _require_space(path, draft, 4 * rows * len(names))
        writers = [ColumnWriter(draft / f"{at}.npy", name, rows) for at, name in enumerate(names)]
        with frames(file, shown, layout, options, f"converting {shown}") as read:
            for piece in read(chunksize=pieces, dtype=dict.fromkeys(text, str)):
                table = table_of(named(piece, layout, used, shown))
                for writer in writers:
                    writer.add(table[writer.name])
    return rows, {"columns": [writer.finished() for writer in writers], "named": layout.header is not None}


def _require_space(path: Path, draft: Path, needed: int) -> None:
    free = shutil.disk_usage(draft).free
    if needed > free:
        raise DataError(f"{path} requires about {needed:,} bytes of disk once converted, got {free:,} free. Make room.")


__all__ = ["ABOVE", "automatic", "convert", "is_converted", "read_converted"]
