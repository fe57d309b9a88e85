"""A table: columns by name, each of one kind, with missing cells: numbers, truth values, dates, text as numbered values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from bpengine.errors import DataError, unknown
from bpengine.i18n.counted_nouns import count_of

Array = npt.NDArray[Any]
RowNumbers: TypeAlias = Array | Sequence[int] | slice | int  # which rows: their numbers, or a truth value for each
NO_VALUE = -1  # the number of a missing text


class TableColumn(NamedTuple):
    """One column (rows,). Missing cells are NaN, NaT, or -1 in a column of text.

    values: numbers, truth values, datetime64, or for text the number of each cell's value in `categories`. yes_no: whether
    numbers 0 and 1 stand for truth values.
    """

    values: Array
    categories: tuple[str, ...] | None = None
    yes_no: bool = False

    @property
    def missing(self) -> Array:
        """Which cells are missing (rows,)."""
        if self.categories is not None:
            return np.asarray(self.values < 0)
        if self.values.dtype.kind in "fMm":
            return np.asarray(self.values != self.values) if self.values.dtype.kind == "f" else np.isnat(self.values)
        return np.zeros(len(self.values), np.bool_)

    @property
    def is_number(self) -> bool:
        """Whether its cells are numbers or truth values."""
        return self.categories is None and self.values.dtype.kind in "biuf"

    def take(self, rows: Array | slice) -> TableColumn:
        """Return some of the rows, by a slice or their numbers."""
        return self._replace(values=np.asarray(self.values[rows]))

    def text(self, row: int) -> str:
        """Return a cell as text."""
        value = self.values[row]
        return self.categories[int(value)] if self.categories is not None else f"{value}"


class Table:
    """Rows of named columns: `table["age"]` is a TableColumn, `table[:10]` are ten rows.

    A table of some rows shares the columns of the whole one; a column's rows are gathered when it is read, so that columns
    may be memory-mapped files. `where` is the folder of such files.
    Raises DataError for columns of different lengths; ConfigError, with the nearest names, for a column that does not exist.
    """

    def __init__(
        self,
        columns: Mapping[str, TableColumn],
        *,
        picked: Array | None = None,
        named: bool = True,
        where: str | None = None,
    ) -> None:
        self._columns, self._picked, self.named, self.where = dict(columns), picked, named, where
        whole = {len(column.values) for column in self._columns.values()}
        if len(whole) > 1:
            raise DataError(f"a table requires columns of equal length, got {min(whole)} and {max(whole)} rows.")
        self._rows = whole.pop() if whole else 0

    @cached_property
    def _by_line(self) -> dict[str, str]:
        """The names of the columns by their displayed form."""
        return {one_line(name): name for name in self._columns}

    def _known(self, name: str) -> str:
        """Return the column's name for its displayed or its original form; otherwise the name itself."""
        return name if name in self._columns else self._by_line.get(one_line(name), name)

    @classmethod
    def of_matrix(cls, x: Array, names: Sequence[str], *, named: bool = True) -> Table:
        """Return numbers (rows, columns) as a table, without a copy. named: whether the names are the file's own."""
        return cls({name: TableColumn(x[:, at]) for at, name in enumerate(names)}, named=named)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in their order."""
        return tuple(self._columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), len(self._columns)

    @property
    def ndim(self) -> int:
        """Axes: always 2."""
        return 2

    @property
    def nbytes(self) -> int:
        """Bytes of all cells."""
        return sum(column.values.itemsize for column in self._columns.values()) * len(self)

    def __len__(self) -> int:
        return self._rows if self._picked is None else len(self._picked)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._known(name) in self._columns

    def __repr__(self) -> str:
        names = ", ".join(self.names[:6]) + ", ..." * (len(self.names) > 6)
        return f"Table({count_of(len(self), 'row', ',')} x {count_of(len(self._columns), 'column', ',')}: {names})"

    @overload
    def __getitem__(self, key: str) -> TableColumn: ...
    @overload
    def __getitem__(self, key: RowNumbers) -> Table: ...
    def __getitem__(self, key: str | RowNumbers) -> TableColumn | Table:
        """Return a column by its name, or some rows as a table.

        Raises: ConfigError with the nearest names for a column that does not exist.
        """
        if isinstance(key, str):
            key = self._known(key)
            if key not in self._columns:
                raise unknown("column", key, self._columns)
            column = self._columns[key]
            return column if self._picked is None else column.take(self._picked)
        rows = np.arange(self._rows) if self._picked is None else self._picked
        return self._with(self._columns, np.atleast_1d(rows[key]))

    def block(self, name: str, start: int, stop: int) -> TableColumn:
        """Return rows start to stop of one column."""
        column = self._columns[self._known(name)]
        return column.take(slice(start, stop) if self._picked is None else self._picked[start:stop])

    def whole(self, name: str) -> Array:
        """Return all values of a column, of which this table may have some rows, memory-mapped or not."""
        return self._columns[self._known(name)].values

    def select(self, names: Iterable[str]) -> Table:
        """Return some of the columns, in the given order; raise ConfigError for an unknown one."""
        chosen = list(map(self._known, names))
        for name in chosen:
            if name not in self._columns:
                raise unknown("column", name, self._columns)
        return self._with({name: self._columns[name] for name in chosen}, self._picked)

    def without(self, names: Iterable[str]) -> Table:
        """Return all columns but some."""
        left_out = set(map(self._known, names))
        return self._with({n: c for n, c in self._columns.items() if n not in left_out}, self._picked)

    def _with(self, columns: Mapping[str, TableColumn], picked: Array | None) -> Table:
        return Table(columns, picked=picked, named=self.named, where=self.where)

    @property
    def plain(self) -> bool:
        """Whether every cell is a number, none missing."""
        return all(self._columns[name].is_number and not self[name].missing.any() for name in self)

    def matrix(self) -> Array:
        """Return the numbers (rows, columns), of the columns' common type.

        Raises: DataError naming the first column with a missing cell or with anything but numbers.
        """
        for at, name in enumerate(self):
            self._require_numbers(name, at)
        kinds = [self._columns[name].values.dtype for name in self]
        x = np.empty(self.shape, np.result_type(*kinds) if kinds else np.float64)
        for at, name in enumerate(self):
            x[:, at] = self[name].values
        return x

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return self.matrix().astype(dtype, copy=False) if dtype is not None else self.matrix()

    def _require_numbers(self, name: str, at: int) -> None:
        column = self[name]
        hint = "bp.Features turns columns of every kind into numbers."
        if not column.is_number:
            kind = "dates" if column.categories is None else f"text: first {column.text(0)!r} in row 0"
            raise DataError(f"numbers are required, but column {name!r} (number {at}) holds {kind}. {hint}")
        missing = column.missing
        if missing.any():
            row = int(np.argmax(missing))
            raise DataError(f"there is a missing value in row {row}, column {name!r} (number {at}). {hint}")


def one_line(name: str) -> str:
    r"""Return a name in one line for display: a header in a file may have line breaks in it.

    >>> one_line("width\n(cm)")
    'width (cm)'
    """
    return name if name.splitlines() in ([name], []) else " ".join(name.split())


def coded(cells: Iterable[Any]) -> TableColumn:
    """Return texts (None and NaN for missing cells) as a column; its distinct values are numbered in sorted order."""
    numbers: dict[Any, int] = {}
    codes = np.fromiter((numbers.setdefault(cell, len(numbers)) for cell in cells), np.int64)
    texts = [None if value is None or value != value else str(value).strip() for value in numbers]
    known = tuple(sorted({text for text in texts if text is not None}))
    place = {text: number for number, text in enumerate(known)}
    order = np.array([NO_VALUE if text is None else place[text] for text in texts], np.int32)
    return TableColumn(order[codes] if len(codes) else codes.astype(np.int32), known)
