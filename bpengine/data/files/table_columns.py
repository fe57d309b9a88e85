"""Rules for every table: which column is the target, text as classes, no missing cells. Also the reader of Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bpengine.data.dataset import Array
from bpengine.data.files.npy import AnyPath, Arrays, as_data_error, existing
from bpengine.data.validation.options import optional
from bpengine.errors import ConfigError, DataError, unknown

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})


def column_index(path: Path, names: tuple[str, ...], target: str | int | bool | None) -> int | None:
    """Return the number of the target column (None, the default: the last one), or None when `target` is False.

    Raises: ConfigError with the nearest names, or the number of columns; DataError when no feature column remains.
    """
    if target is False:
        return None
    if len(names) < 2:
        raise DataError(f"{path} requires a feature and a target column, got {len(names)} column.")
    if isinstance(target, str):
        if target not in names:
            raise unknown(f"target column of {path}:", target, names)
        return names.index(target)
    index = -1 if target is None else int(target)
    if not -len(names) <= index < len(names):
        raise ConfigError(f"{path} requires a target column from 0 to {len(names) - 1}, got {index}.")
    return index % len(names)


def missing_cell(path: Path, row: int, name: str, number: int) -> DataError:
    """Build the error for an empty cell; rows and columns are counted from 0."""
    hint = "Fill the cell or drop the row."
    return DataError(f"{path} has a missing value in row {row}, column {name!r} (number {number}). {hint}")


def text_cell(path: Path, row: int, name: str, number: int, value: str) -> DataError:
    """Build the error for text where a number is required; rows and columns are counted from 0."""
    hint = "Encode it as numbers, leave the column out, or choose it with target=."
    if value.count(",") == 1 and value.replace(",", "").strip().lstrip("+-").isdigit():
        hint = "It looks like a decimal comma; write a decimal point."
    where = f"column {name!r} (number {number}) holds text"
    return DataError(f"{path} requires numbers, but {where}: first {value!r} in row {row}. {hint}")


def require_cells(path: Path, table: Array, names: tuple[str, ...]) -> None:
    """Require a table (rows, columns) without NaN.

    Raises: DataError naming row and column of the first.
    """
    if table.dtype.kind == "f" and np.isnan(np.sum(table)):  # the sum is NaN for +inf and -inf too: look closer
        holes = np.argwhere(np.isnan(table))
        if len(holes):
            row, column = (int(index) for index in holes[0])
            raise missing_cell(path, row, names[column], column)


def class_numbers(path: Path, text: Array, name: str, number: int) -> tuple[Array, tuple[str, ...]]:
    """Return class numbers (rows,) and the class names in sorted order.

    Raises: DataError naming the row of an empty label.
    """
    names, y = np.unique(text.astype(np.str_), return_inverse=True)
    empty = [index for index, label in enumerate(names) if label.strip().lower() in MISSING]
    if empty:
        raise missing_cell(path, int(np.argmax(np.isin(y, empty))), name, number)
    return y.astype(np.int64), tuple(map(str, names))


@as_data_error("Parquet")
def read_parquet(path: AnyPath, target: str | int | bool | None = None) -> Arrays:
    """Read a Parquet table with pyarrow, by the rules of `read_csv`; x has the common dtype of its columns.

    Raises: ConfigError when pyarrow is not installed; DataError naming the file, the row and the column.
    """
    path = existing(path)
    parquet = optional("pyarrow.parquet", f"reading {path}", "bpengine[parquet]")
    table = parquet.ParquetFile(path).read()
    names = tuple(map(str, table.column_names))
    at = column_index(path, names, target)
    if table.num_rows == 0:
        raise DataError(f"{path} requires at least one row, got none.")
    features = [index for index in range(len(names)) if index != at]
    columns = [_column(path, table.column(index), names[index], index) for index in features]
    x = np.empty((table.num_rows, len(columns)), np.result_type(*columns))
    for position, column in enumerate(columns):
        x[:, position] = column
    y, classes = (None, None) if at is None else _target(path, table.column(at), names[at], at)
    return Arrays(x, y, tuple(names[index] for index in features), classes)


def _values(path: Path, column: Any, name: str, number: int) -> Array:
    """Return a column as NumPy values; dictionary-encoded text as plain text."""
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise missing_cell(path, row, name, number)
    if hasattr(column.type, "value_type") and hasattr(column.type, "index_type"):
        column = column.cast(column.type.value_type)
    return np.asarray(column.to_numpy())


def _column(path: Path, column: Any, name: str, number: int) -> Array:
    values = _values(path, column, name, number)
    if values.dtype.kind not in "biuf":
        if isinstance(values[0], str):
            raise text_cell(path, 0, name, number, values[0])
        raise DataError(f"{path} requires numbers, but column {name!r} (number {number}) holds {column.type}.")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise missing_cell(path, int(np.argmax(np.isnan(values))), name, number)
    return values


def _target(path: Path, column: Any, name: str, number: int) -> tuple[Array, tuple[str, ...] | None]:
    values = _values(path, column, name, number)
    if values.dtype.kind == "O" and isinstance(values[0], str):
        return class_numbers(path, values, name, number)
    return _column(path, column, name, number), None
