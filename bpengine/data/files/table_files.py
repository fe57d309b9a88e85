"""Tables from files: the target column, and the features."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpengine.data.files.npy import Arrays
from bpengine.data.table import Array, Table, TableColumn, one_line
from bpengine.data.tables.conversion import automatic, is_converted, read_converted
from bpengine.data.tables.csv_table import STANDARD_INPUT, read_text_table
from bpengine.data.tables.layout import TextOptions
from bpengine.data.tables.missing_texts import texts_of
from bpengine.data.tables.parquet_table import read_parquet_table
from bpengine.data.validation.class_names import ClassName
from bpengine.data.validation.reading import AnyPath, existing
from bpengine.errors import ConfigError, DataError, unknown
from bpengine.i18n.language import localized

ColumnTarget = str | int | bool | Sequence[str] | None


def read_csv(path: AnyPath, target: ColumnTarget = None, *, drop_empty: bool = False, **options: Any) -> Arrays:
    """Read a table of text with pandas; its target column (default: the last) may hold class names.

    `target` is a column's name or number from 0, or several names; False reads every column as a feature. drop_empty: whether
    rows with an empty target are left out, with a warning. options: those of `bpengine.data.tables.layout.TextOptions`: sep,
    header, decimal, thousands, encoding, comment, skiprows, quotechar, na_values, max_bytes. Without them, separator, header
    and decimal mark are inferred from the first lines. x is an array (rows, features) of numbers, or a Table where it holds
    text, dates or missing cells.
    Raises: ConfigError without pandas; DataError naming the file, the row (from 0, without the header) and the column.
    """
    file = Path(path) if str(path) == STANDARD_INPUT else existing(path)
    settings = TextOptions(**options)
    table = automatic(file, **options)
    table = read_text_table(file, settings) if table is None else table
    arrays = with_target(table, str(file), target, drop_empty=drop_empty)
    return arrays if isinstance(arrays.x, Table) else arrays._replace(x=arrays.x.astype(np.float64))


def read_parquet(
    path: AnyPath,
    target: ColumnTarget = None,
    max_bytes: int | None = None,
    *,
    na_values: Sequence[str] = (),
    drop_empty: bool = False,
) -> Arrays:
    """Read a Parquet table with pyarrow, as `read_csv` does; x has the common type of its columns.

    max_bytes: most bytes of the decoded columns; by default 64 MiB plus fifty times the file's size. na_values: texts of
    missing cells; numbers of such a value are missing, too.
    Raises: ConfigError when pyarrow is not installed; DataError naming the file, the row and the column.
    """
    file = existing(path)
    options: dict[str, Any] = {
        "max_bytes": max_bytes,
        **({"na_values": list(texts_of(na_values))} if na_values else {}),
    }
    table = automatic(file, **options)
    table = read_parquet_table(file, **options) if table is None else table
    return with_target(table, str(file), target, drop_empty=drop_empty)


def read_folder(path: Path, target: ColumnTarget = None, *, drop_empty: bool = False) -> Arrays:
    """Read a table that `convert` has written; it stays memory-mapped."""
    return with_target(read_converted(path), str(path), target, drop_empty=drop_empty)


def is_table(path: Path) -> bool:
    """Return whether a path is a table: standard input, a converted one, or any file but an array file."""
    return str(path) == STANDARD_INPUT or is_converted(path)


def with_target(table: Table, shown: str, target: ColumnTarget, *, drop_empty: bool = False) -> Arrays:
    """Divide a table into inputs and target; `shown` names it in messages.

    drop_empty: whether rows with an empty target are left out, with a warning; else they are refused.

    Raises: ConfigError for a column that does not exist, DataError for a missing target.
    """
    chosen = target_columns(table, shown, target)
    if drop_empty:
        table = _without_empty(table, shown, chosen)
    rest = table.without(chosen)
    y, classes = _targets(table, shown, chosen) if chosen else (None, None)
    x = rest.matrix() if rest.where is None and rest.plain else rest
    return Arrays(x, y, rest.names, classes, table.named, chosen)


def _without_empty(table: Table, shown: str, chosen: tuple[str, ...]) -> Table:
    empty = np.any([table[name].missing for name in chosen], axis=0) if chosen else np.zeros(len(table), np.bool_)
    count = int(np.count_nonzero(empty))
    if count == len(table):
        raise DataError(
            f"{shown} requires a target in at least one row, got none in column {', '.join(map(repr, chosen))}."
        )
    if count:
        warnings.warn(
            localized(
                f"1 of {len(table):,} rows of {shown} has no target and is left out."
                if count == 1
                else f"{count:,} of {len(table):,} rows of {shown} have no target and are left out."
            ),
            stacklevel=4,
        )
        table = table[np.flatnonzero(~empty)]
    return table


def target_columns(table: Table, shown: str, target: ColumnTarget) -> tuple[str, ...]:
    """Return the names of the target columns (None, the default: the last one); none when `target` is False.

    Raises: ConfigError with the nearest names, or the number of columns; DataError when no feature column remains.
    """
    names = table.names
    if target is False:
        return ()
    if len(names) < 2:
        raise DataError(f"{shown} requires a feature and a target column, got {len(names)} column.")
    if isinstance(target, (list, tuple)):
        return _different(shown, tuple(_known(shown, str(name), names) for name in target))
    if isinstance(target, str):
        several = target.split(",") if target not in names else [target]
        chosen = tuple(_known(shown, name if name in names else name.strip(), names) for name in several)
        return _different(shown, chosen)
    if isinstance(target, Sequence):
        raise ConfigError(f"{shown} requires target columns as a list of names, got {type(target).__name__}.")
    index = -1 if target is None else int(target)
    if not -len(names) <= index < len(names):
        raise ConfigError(f"{shown} requires a target column from {-len(names)} to {len(names) - 1}, got {index}.")
    return (names[index],)


def _different(shown: str, chosen: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for at, name in enumerate(chosen) if name in chosen[:at]), None)
    if twice is not None:
        raise ConfigError(f"{shown} requires different target columns, got {twice!r} twice. Name each of them once.")
    return chosen


def _known(shown: str, name: str, names: tuple[str, ...]) -> str:
    known = name if name in names else one_line(name)
    if known not in names:
        raise unknown(f"target column of {shown}:", name, names)
    return known


def _targets(table: Table, shown: str, chosen: tuple[str, ...]) -> tuple[Array, tuple[ClassName, ...] | None]:
    """Return the targets: class numbers and names for text and truth values, else numbers."""
    for name in chosen:
        missing = table[name].missing
        if missing.any():
            at = f"row {int(np.argmax(missing))}, column {name!r} (number {table.names.index(name)})"
            hint = "Fill the cell or drop the row."
            raise DataError(f"{shown} has a missing value in {at}. {hint}")
    if len(chosen) == 1:
        return target_values(table[chosen[0]], shown, chosen[0])
    return np.stack([_numbers(table[name], shown, name) for name in chosen], axis=1), None


def target_values(column: TableColumn, shown: str, name: str) -> tuple[Array, tuple[ClassName, ...] | None]:
    """Return the numbers of a column, or class numbers with the names that occur in it, in sorted order."""
    if column.yes_no:
        return column.values.astype(np.int64), (False, True)
    if column.categories is None:
        return _numbers(column, shown, name), None
    present, y = np.unique(column.values, return_inverse=True)
    names = tuple(column.categories[int(code)] for code in present)
    broken = [label for label in names if "\n" in label or "\r" in label]
    if broken:
        raise DataError(
            f"{shown} has the class {broken[0][:80]!r} in column {name!r}, with a line break in it. A quotation mark that is "
            "not closed takes in the next lines; --quotechar names another."
        )
    return y.astype(np.int64), names


def _numbers(column: TableColumn, shown: str, name: str) -> Array:
    if not column.is_number:
        kind = "text" if column.categories is not None else "dates"
        raise DataError(f"{shown} requires a target of numbers or classes, but column {name!r} holds {kind}.")
    return np.asarray(column.values)
