"""One column written to a .npy file piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from bpengine.data.table import NO_VALUE, Array, TableColumn
from bpengine.errors import DataError
from bpengine.i18n.counted_nouns import count_of

BLOCK = 1 << 20  # rows that are rewritten at a time
DISTINCT = 100_000  # most different texts of a column; a column with more is no category, and counts as empty


class ColumnWriter:
    """Writes a column of a known number of rows; numbers keep the type of the first piece unless a later one has another.

    Text is written as numbers of its values, in the order of their first occurrence, and renumbered in sorted order at the
    end.
    """

    def __init__(self, path: Path, name: str, rows: int) -> None:
        self.name, self._path, self._rows = name, path, rows
        self._filled = 0
        self._dtype: np.dtype[Any] | None = None
        self._texts: dict[str, int] | None = None
        self._yes_no = self._many = False

    def add(self, column: TableColumn) -> None:
        """Append a piece."""
        values = self._coded(column) if column.categories is not None else column.values
        if self._texts is not None and column.categories is None:
            if not column.missing.all():
                raise DataError(f"column {self.name!r} holds numbers in some rows and text in others. Name its kind.")
            values = np.full(len(values), NO_VALUE, np.int32)
        self._yes_no = column.yes_no or self._yes_no
        self._require_type(values.dtype)
        assert self._dtype is not None
        with self._path.open("ab") as file:
            file.write(np.ascontiguousarray(values, self._dtype).data)
        self._filled += len(values)

    def _coded(self, column: TableColumn) -> Array:
        assert column.categories is not None
        if self._texts is None:
            self._texts = {}
            if self._filled:
                self._rewrite(np.dtype(np.int32), lambda block: np.full(len(block), NO_VALUE, np.int32))
        places = [] if self._many else [self._texts.setdefault(text, len(self._texts)) for text in column.categories]
        if self._many or len(self._texts) > DISTINCT:
            self._many = True  # not a category but free text, which is left out: none of it is kept
            return np.full(len(column.values), NO_VALUE, np.int32)
        return np.append(np.array(places, np.int32), np.int32(NO_VALUE))[column.values]

    def _require_type(self, dtype: np.dtype[Any]) -> None:
        """Create the file with the type of the first piece; rewrite it where a later piece has a wider one."""
        if self._dtype is None:
            self._dtype = dtype
            with self._path.open("wb") as file:
                self._header(file)
            return
        wanted = np.result_type(self._dtype, dtype)
        if wanted != self._dtype:
            self._rewrite(wanted, lambda block: block.astype(wanted))

    def _header(self, file: IO[bytes]) -> None:
        assert self._dtype is not None
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self._rows,)}
        np.lib.format.write_array_header_1_0(file, header)

    def _rewrite(self, dtype: np.dtype[Any], changed: Callable[[Array], Array]) -> None:
        """Rewrite the values so far in another type."""
        old, before = self._path.with_suffix(".old"), self._dtype
        self._path.rename(old)
        self._dtype = dtype
        with old.open("rb") as read, self._path.open("wb") as file:
            np.lib.format.read_magic(read)
            np.lib.format.read_array_header_1_0(read)
            self._header(file)
            while len(block := np.fromfile(read, before, BLOCK)):
                file.write(np.ascontiguousarray(changed(block), dtype).data)
        old.unlink()

    def finished(self) -> dict[str, Any]:
        """Return the column's entry in the folder's description.

        Raises: DataError when there were fewer or more rows.
        """
        if self._filled != self._rows:
            raise DataError(f"column {self.name!r} requires {count_of(self._rows, 'row', ',')}, got {self._filled:,}.")
        categories = None
        if self._texts is not None:
            categories = sorted(self._texts)
            place = {text: at for at, text in enumerate(categories)}
            order = np.array([*(place[text] for text in self._texts), NO_VALUE], np.int32)
            self._rewrite(
                np.dtype(np.int32), lambda block: np.full(len(block), NO_VALUE) if self._many else order[block]
            )
            categories = [] if self._many else categories
        return {"name": self.name, "categories": categories, "yes_no": self._yes_no}
