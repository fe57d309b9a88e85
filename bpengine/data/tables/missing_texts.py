"""Texts that mean missing cells, in columns whose kinds are already known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bpengine.data.table import NO_VALUE, Table, TableColumn


def texts_of(texts: str | Sequence[str]) -> tuple[str, ...]:
    """Return texts as a list; a single text is one element, not its letters."""
    return (texts,) if isinstance(texts, str) else tuple(map(str, texts))


def with_missing(table: Table, texts: Sequence[str]) -> Table:
    """Return a table in which cells that equal one of the texts are missing: text, and numbers of that value.

    >>> column = TableColumn(np.array([3, -999]))
    >>> with_missing(Table({"a": column}), ["-999"])["a"].values
    array([ 3., nan])
    """
    if not texts:
        return table
    return Table({name: _marked(table[name], texts) for name in table}, named=table.named)


def _marked(column: TableColumn, texts: Sequence[str]) -> TableColumn:
    if column.categories is not None:
        return _without_texts(column, column.categories, {text.strip() for text in texts})
    if column.yes_no or not column.is_number:
        return column
    absent = np.isin(column.values, _numbers(texts, column.values.dtype))
    if not absent.any():
        return column
    wide = np.result_type(column.values.dtype, np.float16)  # a float type that holds the column's values
    return column._replace(values=np.where(absent, wide.type(np.nan), column.values.astype(wide)))


def _without_texts(column: TableColumn, categories: tuple[str, ...], texts: set[str]) -> TableColumn:
    kept = tuple(text for text in categories if text not in texts)
    if len(kept) == len(categories):
        return column
    place = {text: at for at, text in enumerate(kept)}
    order = np.array([*(place.get(text, NO_VALUE) for text in categories), NO_VALUE], np.int32)
    return TableColumn(order[column.values], kept)


def _numbers(texts: Sequence[str], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return those texts that are numbers of a type, as numbers of that type."""
    values = []
    for text in texts:
        try:
            value = float(text)
            if dtype.kind == "f" or value.is_integer():
                values.append(dtype.type(value))
        except (ValueError, OverflowError):  # not a number, or out of range of the type
            continue
    return np.array(values, dtype)
