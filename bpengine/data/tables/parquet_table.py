"""Parquet, read by pyarrow, with its checksums verified."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpengine.data.table import Table
from bpengine.data.tables.data_frames import table_of
from bpengine.data.validation.options import optional
from bpengine.data.validation.reading import UNREADABLE
from bpengine.errors import BpError, DataError
from bpengine.i18n.language import localized

PIECEWISE = {
    "pre_buffer": False,
    "buffer_size": 1 << 16,
}  # else pyarrow keeps every byte until the file is closed
PARQUET = b"PAR1"
INDEX = re.compile(r"__index_level_\d+__")


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its name or its first bytes."""
    if path.name.lower().endswith((".parquet", ".pq")):
        return True
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


@contextmanager
def opened_parquet(path: Path, max_bytes: int | None = None) -> Iterator[Any]:
    """Yield a pyarrow ParquetFile; any exception within the block becomes a DataError that names the file.

    Raises: ConfigError without pyarrow; DataError for more than `max_bytes` of decompressed columns.
    """
    parquet = optional("pyarrow.parquet", f"reading {path}", "tables")
    arrow = optional("pyarrow", f"reading {path}", "tables")
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True, **PIECEWISE) as file:
            _require_size(path, file, max_bytes)
            yield file
    except BpError:
        raise
    except (*UNREADABLE, arrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from error


def read_parquet_table(path: Path, max_bytes: int | None = None) -> Table:
    """Read a whole Parquet table; the index that pandas wrote beside the columns is left out.

    Raises: ConfigError without pyarrow; DataError naming the file.
    """
    with opened_parquet(path, max_bytes) as file:
        table = file.read(columns=columns_of(path, file))
        if table.num_rows == 0:
            raise DataError(f"{path} requires at least one row, got none.")
        return table_of(table)


def columns_of(path: Path, file: Any) -> list[str]:
    """Return the names of the columns, without pandas' index and, with a warning, without columns of unsupported kinds.

    Raises: DataError for two columns of one name.
    """
    names = list(map(str, file.schema_arrow.names))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{path} has two columns of the name {twice[0]!r}. Rename one.")
    described = (file.schema_arrow.metadata or {}).get(b"pandas")
    index = (
        json.loads(described).get("index_columns", []) if described else []
    )  # pandas describes a range index as an object
    strange = {field.name: field.type for field in file.schema_arrow if _is_strange(field.type)}
    for name, kind in strange.items():
        text = f"{path}: the column {name!r} holds {kind}, which no table has, and is left out."
        warnings.warn(localized(text), stacklevel=3)
    return [name for name in names if not (INDEX.fullmatch(name) and name in index) and name not in strange]


def _is_strange(kind: Any) -> bool:
    """Return whether a column is of an unsupported kind: neither numbers, text, truth values nor dates."""
    types = optional("pyarrow.types", "a Parquet file", "tables")
    forms = ("nested", "binary", "large_binary", "fixed_size_binary", "binary_view", "time", "duration", "interval")
    return any(getattr(types, f"is_{form}")(kind) for form in forms)


def _require_size(path: Path, file: Any, max_bytes: int | None) -> None:
    """Raise DataError when the columns hold more bytes than may be read."""
    groups = (file.metadata.row_group(at) for at in range(file.metadata.num_row_groups))
    size = sum(group.total_byte_size for group in groups)
    if max_bytes is not None and size > max_bytes:
        raise DataError(
            f"{path} holds {size:,} bytes, more than {max_bytes:,}. Allow more with --max-bytes (max_bytes=)."
        )
