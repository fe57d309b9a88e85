"""CSV tables, read by NumPy's C reader: no Python code runs per row, and nothing in the file is executed."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from bpengine.data.dataset import Array
from bpengine.data.files.npy import AnyPath, Arrays, as_data_error, existing
from bpengine.data.files.table_columns import (
    MISSING,
    class_numbers,
    column_index,
    missing_cell,
    require_cells,
    text_cell,
)
from bpengine.errors import ConfigError, DataError

HEAD_LINES = 20
DELIMITERS = ("\t", ";", ",")
FAILED_CELL = re.compile(r"could not convert string (.*) to \S+ at row (\d+), column (\d+)", re.DOTALL)


class Layout(NamedTuple):
    """The layout of a table, from its first lines: the delimiter, whether they begin with names, one name per column."""

    path: Path
    delimiter: str
    header: bool
    names: tuple[str, ...]


@as_data_error("CSV (text in UTF-8)")
def read_csv(
    path: AnyPath, target: str | int | bool | None = None, header: bool | None = None, delimiter: str | None = None
) -> Arrays:
    r"""Read a table of numbers, float64; the target column (default: the last) may hold class names.

    `target` is a column's name or number from 0; False reads every column as a feature. The delimiter is found among
    comma, semicolon and tab; the first line counts as names when none of its fields is a number. Text targets become
    class numbers in sorted order of the names. A missing cell is an error, not a guess.
    Raises: DataError naming the file, the row (from 0, without the header) and the column of the first bad cell.
    """
    path = existing(path)
    layout = _layout(path, header, delimiter)
    at = column_index(path, layout.names, target)
    names = tuple(name for index, name in enumerate(layout.names) if index != at)
    try:
        table = _load(layout, np.float64, ndmin=2)
    except ValueError as error:
        cell = FAILED_CELL.search(str(error))
        if cell is None or int(cell[3]) - 1 != at or _text(cell) in MISSING:
            raise _explained(layout, error) from error
        x, y, classes = _with_text_target(layout, at)
        return Arrays(x, y, names, classes)
    require_cells(path, table, layout.names)
    return Arrays(table, None, names) if at is None else Arrays(np.delete(table, at, axis=1), table[:, at], names)


def _layout(path: Path, header: bool | None, delimiter: str | None) -> Layout:
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in "\r\n"):
        raise ConfigError(f"read_csv requires a delimiter of one character, got {delimiter!r}.")
    with _open(path) as file:
        lines = [line for line in islice(file, HEAD_LINES) if line.strip()]
    if not lines:
        raise DataError(f"{path} requires at least one row, got an empty file.")
    delimiter = delimiter or _sniff(lines)
    first = [field.strip() for field in next(csv.reader(lines, delimiter=delimiter))]
    header = not any(_is_number(field) for field in first) and any(first) if header is None else header
    if len(lines) == int(header):
        raise DataError(f"{path} requires at least one row below its header, got none.")
    return Layout(path, delimiter, header, _names(first if header else [""] * len(first)))


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else path.open(encoding="utf-8-sig")


def _names(fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(field or f"column {index}" for index, field in enumerate(fields))


def _sniff(lines: list[str]) -> str:
    """Return the delimiter that cuts all lines into the same number of fields, at least 2; else the first one in line 0."""
    for delimiter in DELIMITERS:
        widths = {len(fields) for fields in csv.reader(lines, delimiter=delimiter)}
        if len(widths) == 1 and widths != {1}:
            return delimiter
    return next((delimiter for delimiter in DELIMITERS if delimiter in lines[0]), ",")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _load(layout: Layout, dtype: Any, **options: Any) -> Array:
    return np.loadtxt(
        str(layout.path.resolve()),
        dtype=dtype,
        delimiter=layout.delimiter,
        skiprows=int(layout.header),
        comments=None,
        quotechar='"',
        encoding="utf-8-sig",
        **options,
    )


def _with_text_target(layout: Layout, at: int) -> tuple[Array, Array, tuple[str, ...]]:
    """Read the target column as text to learn its width, then all columns at once as records."""
    try:
        text = np.strings.strip(_load(layout, np.str_, usecols=[at], ndmin=1))
        sides = [("before", np.float64, (at,)), ("after", np.float64, (len(layout.names) - at - 1,))]
        record = [sides[0], ("target", text.dtype), sides[1]]
        rows = _load(layout, [field for field in record if field[-1] != (0,)], ndmin=1)
    except ValueError as error:
        raise _explained(layout, error) from error
    x = np.concatenate([rows[side[0]] for side in sides if side[-1] != (0,)], axis=1)
    require_cells(layout.path, x, tuple(name for index, name in enumerate(layout.names) if index != at))
    return x, *class_numbers(layout.path, text, layout.names[at], at)


def _text(cell: re.Match[str]) -> str:
    return cell[1][1:-1].strip().lower()


def _explained(layout: Layout, error: Exception) -> DataError:
    """Turn the reader's message into one that names the file, the row, the column and the value."""
    cell = FAILED_CELL.search(str(error))
    if cell is None:
        hint = f"Every row needs {len(layout.names)} fields; rows are counted from 0."
        return DataError(f"{layout.path} cannot be read as CSV: {str(error).partition('; use')[0]}. {hint}")
    row, column, value = int(cell[2]), int(cell[3]) - 1, cell[1][1:-1]
    if _text(cell) in MISSING:
        return missing_cell(layout.path, row, layout.names[column], column)
    return text_cell(layout.path, row, layout.names[column], column, value)
