"""Parquet, read by pyarrow in pieces, with its checksums verified, within a limit: a small file may decode to terabytes."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import numpy as np

from bpengine.data.table import Table, one_line
from bpengine.data.tables.byte_streams import limit_of
from bpengine.data.tables.data_frames import ArrowArray, table_of
from bpengine.data.tables.layout import COLUMNS
from bpengine.data.tables.missing_texts import texts_of, with_missing
from bpengine.data.tables.parquet_pages import pages
from bpengine.data.validation.options import optional
from bpengine.data.validation.reading import UNREADABLE, reason
from bpengine.errors import BpError, DataError
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.output.long_work import watched

# otherwise pyarrow keeps every byte until the file is closed
PIECEWISE = {"pre_buffer": False, "buffer_size": 1 << 16}
PARQUET = b"PAR1"
INDEX = re.compile(r"__index_level_\d+__")
BATCH: Final = 65_536  # rows at once
CELLS: Final = 8_000_000  # in memory at once
SPELLED_OUT: Final = frozenset({"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"})  # encodings of texts
REPEATED: Final = 64 * 2**20  # bytes of texts in memory at once where each may repeat the one before
STRANGE: Final = (
    "nested",
    "binary",
    "large_binary",
    "fixed_size_binary",
    "binary_view",
    "time",
    "duration",
    "interval",
)


class RecordBatch(Protocol):
    """What is asked of a record batch of pyarrow, which states no types."""

    schema: Any
    columns: list[ArrowArray]
    num_rows: int

    def select(self, names: Sequence[str]) -> RecordBatch:
        """Return some of the columns."""

    def column(self, at: int) -> ArrowArray:
        """Return a column."""

    def set_column(self, at: int, name: str, column: ArrowArray) -> RecordBatch:
        """Return a batch with another column in that place."""


class ParquetFile(Protocol):
    """What is asked of an open Parquet file of pyarrow."""

    metadata: Any
    schema: Any
    schema_arrow: Any

    def iter_batches(
        self, batch_size: int, *, row_groups: Sequence[int], columns: Sequence[str]
    ) -> Iterator[RecordBatch]:
        """Yield rows of some row groups in pieces."""

    def __enter__(self) -> ParquetFile: ...

    def __exit__(self, *raised: object) -> None: ...


class ArrowType(Protocol):
    """What is asked of a type of pyarrow."""

    bit_width: int


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its name or its first bytes."""
    if path.name.lower().endswith((".parquet", ".pq")):
        return True
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


@contextmanager
def opened_parquet(path: Path, max_bytes: int | None = None, na_values: Sequence[str] = ()) -> Iterator[ParquetColumns]:
    """Yield the columns of a Parquet file; any exception within the block becomes a DataError that names the file.

    max_bytes: of the decoded columns; by default 64 MiB plus fifty times the file's size. na_values: texts of missing cells.
    Raises: ConfigError without pyarrow.
    """
    parquet = optional("pyarrow.parquet", f"reading {path}", "tables")
    arrow = optional("pyarrow", f"reading {path}", "tables")
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True, **PIECEWISE) as file:
            if file.metadata.num_columns > COLUMNS:
                raise DataError(f"{path} has {file.metadata.num_columns:,} columns, at most {COLUMNS:,} can be read.")
            limit = limit_of(path, "parquet", max_bytes)
            yield ParquetColumns(path, file, 0 if limit is None else limit, texts_of(na_values))
    except BpError:
        raise
    except (*UNREADABLE, arrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {reason(error)}") from error


def read_parquet_table(path: Path, max_bytes: int | None = None, na_values: Sequence[str] = ()) -> Table:
    """Read a whole Parquet table; the index that pandas wrote beside the columns is left out.

    Raises: ConfigError without pyarrow; DataError naming the file, for more than `max_bytes` before they are read.
    """
    arrow = optional("pyarrow", f"reading {path}", "tables")
    with opened_parquet(path, max_bytes, na_values) as columns:
        return columns.table(
            arrow.Table.from_batches(list(watched(f"reading {path}", columns.batches(), columns.share)))
        )


class ParquetColumns:
    """The columns of an open Parquet file, without the index of pandas and columns of unsupported kinds."""

    def __init__(self, path: Path, file: ParquetFile, limit: int, na_values: tuple[str, ...]) -> None:
        self._path, self._file, self._limit, self._na_values = path, file, limit, na_values
        self.rows = int(file.metadata.num_rows)
        self._read = 0

    @property
    def names(self) -> list[str]:
        """The names of the columns, each in one line."""
        return list(map(one_line, self._own_names))

    @cached_property
    def _own_names(self) -> list[str]:
        """The names of the columns in the file; a warning says which are left out.

        Raises: DataError for two columns of one name, no rows.
        """
        schema = self._file.schema_arrow
        names = list(map(str, schema.names))
        twice = [name for name, times in Counter(map(one_line, names)).items() if times > 1]
        if twice:
            raise DataError(f"{self._path} has two columns of the name {twice[0]!r}. Rename one.")
        if self.rows < 1:
            raise DataError(f"{self._path} requires at least one row, got none.")
        described = (schema.metadata or {}).get(b"pandas")
        index = json.loads(described).get("index_columns", []) if described else []  # a range is written as an object
        strange = {field.name: field.type for field in schema if _is_strange(field.type)}
        for name, kind in strange.items():
            text = f"{self._path}: the column {name!r} holds {kind}, which no table has, and is left out."
            warnings.warn(localized(text), stacklevel=4)
        return [name for name in names if not (INDEX.fullmatch(name) and name in index) and name not in strange]

    @cached_property
    def _numbered(self) -> ParquetFile:
        """The file, opened a second time so that repeated texts are held once (dictionary-encoded)."""
        parquet = optional("pyarrow.parquet", f"reading {self._path}", "tables")
        types = optional("pyarrow.types", f"reading {self._path}", "tables")
        text = [
            field.name
            for field in self._file.schema_arrow
            if types.is_string(field.type) or types.is_large_string(field.type) or types.is_string_view(field.type)
        ]
        numbered = [name for name in text if name not in self._spelled_out]
        file: ParquetFile = parquet.ParquetFile(
            self._path,
            metadata=self._file.metadata,
            read_dictionary=numbered,
            page_checksum_verification=True,
            **PIECEWISE,
        )
        return file

    @cached_property
    def _spelled_out(self) -> set[str]:
        """Columns in which pyarrow returns every text in full; in some of these encodings a text may repeat the one before."""
        chunks = self._chunks(range(self._file.metadata.num_row_groups))
        return {chunk.path_in_schema for chunk in chunks if not SPELLED_OUT.isdisjoint(chunk.encodings)}

    def pieces(self) -> Iterator[Table]:
        """Yield the rows in pieces; raise DataError as soon as they have more bytes than may be read."""
        arrow = optional("pyarrow", f"reading {self._path}", "tables")
        for batch in self.batches():
            yield self.table(arrow.Table.from_batches([batch]))

    def table(self, rows: object) -> Table:
        """Return rows of a pyarrow table as a table."""
        table = with_missing(table_of(rows), self._na_values)
        return Table({one_line(name): table[name] for name in table})

    def share(self) -> float | None:
        """Return the share of the rows that has been read; None where the file says that it has none."""
        return self._read / self.rows if self.rows else None

    def batches(self) -> Iterator[RecordBatch]:
        """Yield the rows as record batches of pyarrow, after comparing the sizes in the file's metadata with the limit."""
        self.least_bytes()
        held = unfolded = read = 0
        with self._numbered as file, self._path.open("rb") as raw:
            for groups in self._together():
                sizes, longest = self._unfolded(raw, groups)
                unfolded += sizes
                self._require(unfolded)
                rows = max(1, min(self._at_once, REPEATED // max(1, longest)))
                for batch in file.iter_batches(rows, row_groups=groups, columns=self._own_names):
                    chosen = batch.select(self._own_names)
                    held += sum(_decoded(column) for column in chosen.columns)
                    self._require(held)
                    read += chosen.num_rows
                    self._read = read
                    yield self._with_numbered_texts(chosen)
        if read != self.rows:
            raise DataError(
                f"{self._path} holds {count_of(read, 'row', ',')}, its footer says {self.rows:,}: it is "
                f"damaged. Get the file again."
            )

    def _with_numbered_texts(self, batch: RecordBatch) -> RecordBatch:
        """Return a batch in which repeated texts that were in full are held once, too."""
        for at, name in enumerate(self._own_names):
            if name in self._spelled_out and "string" in str(batch.schema.field(at).type):
                batch = batch.set_column(at, name, batch.column(at).dictionary_encode())
        return batch

    @cached_property
    def _at_once(self) -> int:
        return max(1, min(BATCH, CELLS // max(1, len(self._own_names))))

    def _together(self) -> Iterator[list[int]]:
        """Yield the numbers of row groups that are read together: as many as make up the rows of a piece, at least one."""
        groups: list[int] = []
        rows = 0
        for at in range(self._file.metadata.num_row_groups):
            own = self._file.metadata.row_group(at).num_rows
            if groups and rows + own > self._at_once:
                yield groups
                groups, rows = [], 0
            groups.append(at)
            rows += own
        if groups:
            yield groups

    def least_bytes(self) -> int:
        """Return the least number of bytes of the decoded columns, by the file's footer.

        Raises: DataError for more than may be read.
        """
        types = (self._file.schema_arrow.field(name).type for name in self._own_names)
        declared = sum(
            chunk.total_uncompressed_size for chunk in self._chunks(range(self._file.metadata.num_row_groups))
        )
        size = max(int(declared), self.rows * sum(map(_width, types)))
        self._require(size)
        return size

    def _chunks(self, groups: Iterable[int]) -> Iterator[Any]:
        """Yield the footer's entries of the columns that are read, for some row groups."""
        for number in groups:
            group = self._file.metadata.row_group(number)
            yield from (group.column(at) for at in self._places)

    @cached_property
    def _places(self) -> list[int]:
        """The numbers of the columns that are read among those of a row group; a nested one has several there."""
        chosen = set(self._own_names)
        paths = self._file.schema
        return [at for at in range(self._file.metadata.num_columns) if paths.column(at).path in chosen]

    def _unfolded(self, raw: BinaryIO, groups: Iterable[int]) -> tuple[int, int]:
        """Return the decompressed bytes of the pages of row groups, and the most bytes that a text in full may have."""
        total = longest = 0
        for chunk in self._chunks(groups):
            first = chunk.data_page_offset
            if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < first:
                first = chunk.dictionary_page_offset
            for page in pages(raw, first, chunk.total_compressed_size, chunk.num_values):
                total += page.unfolded
                if chunk.path_in_schema in self._spelled_out:
                    longest = max(longest, page.unfolded)
        return total, longest

    def _require(self, size: int) -> None:
        if size > self._limit:
            raise DataError(
                f"{self._path} decodes to more than {self._limit:,} bytes of columns. Allow more with --max-bytes "
                "(max_bytes=), if you trust the file."
            )


def _is_strange(kind: ArrowType) -> bool:
    """Return whether a column is of an unsupported kind: neither numbers, text, truth values nor dates."""
    types = optional("pyarrow.types", "a Parquet file", "tables")
    return any(getattr(types, f"is_{form}")(kind) for form in STRANGE)


def _width(kind: ArrowType) -> int:
    """Return the bytes of a value of a type; 0 for text."""
    try:
        return int(kind.bit_width + 7) // 8
    except ValueError:
        return 0


def _decoded(column: ArrowArray) -> int:
    """Return the bytes of a column's values; each text counts as often as it occurs."""
    if not hasattr(column, "dictionary"):
        return int(column.nbytes)
    lengths = np.asarray(optional("pyarrow.compute", "Parquet", "tables").binary_length(column.dictionary))
    places = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return int(np.asarray(lengths, np.int64)[places].sum()) if len(lengths) else 0
