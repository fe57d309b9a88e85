"""Text tables, read by pandas: CSV and similar formats, compressed or not."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from bpengine.data.table import Array, Table
from bpengine.data.tables.byte_streams import standard_input
from bpengine.data.tables.data_frames import table_of
from bpengine.data.tables.decoding import opened_text
from bpengine.data.tables.layout import TextLayout, TextOptions, badly_grouped, find_layout
from bpengine.data.validation.options import optional
from bpengine.errors import BpError, DataError
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.output.long_work import watched

STANDARD_INPUT: Final = "-"
CELLS: Final = 4_000_000  # rows in memory at once where a table is read in pieces


class PandasFrame(Protocol):
    """What is asked of a data frame of pandas, which states no types."""

    columns: Sequence[str]
    dtypes: Iterable[np.dtype[Any]]
    iloc: Any
    index: Any

    def __len__(self) -> int: ...

    def to_numpy(self) -> Array:
        """Return the cells (rows, columns)."""

    def set_axis(self, labels: Sequence[str], *, axis: int) -> PandasFrame:
        """Return a frame with other names."""


class PandasSeries(Protocol):
    """What is asked of a column of pandas."""

    dtype: np.dtype[Any]

    def isna(self) -> Array:
        """Return which cells are missing."""

    def dropna(self) -> Iterable[object]:
        """Return the cells that are there."""


def read_text_table(path: Path, options: TextOptions) -> Table:
    """Read a whole table; "-" is standard input.

    Raises: ConfigError without pandas; DataError naming the file, the line and what is wrong.
    """
    with source(path, options) as (file, shown):
        layout = layout_of(file, shown, options)
        rows = max(1, CELLS // layout.width)
        with frames(file, shown, layout, options) as read:
            pieces = list(read(chunksize=rows))
        contents = contents_of(pieces, layout.width)
        if contents.text:  # texts that look like numbers must keep their leading zeros
            with frames(file, shown, layout, options) as read:
                pieces = list(read(chunksize=rows, dtype=dict.fromkeys(contents.text, str)))
        joined = optional("pandas", f"reading {shown}", "tables").concat
        frame = pieces[0] if len(pieces) == 1 else joined(pieces, ignore_index=True)
        return _table(frame, layout, contents.used, shown)


@contextmanager
def source(path: Path, options: TextOptions) -> Iterator[tuple[Path, str]]:
    """Yield the file to read and its name in messages; standard input is copied to a temporary file."""
    piped = str(path) == STANDARD_INPUT
    with standard_input(options.max_bytes) if piped else nullcontext(path) as file:
        yield file, "standard input" if piped else str(path)


def layout_of(file: Path, shown: str, options: TextOptions) -> TextLayout:
    """Return the layout of a file from its first lines; warn of a thousands mark between groups of other lengths."""
    if options.thousands is not None:
        _warn_of_groups(file, shown, options, options.thousands)
    with opened_text(file, shown, options) as stream:
        return find_layout(stream, shown, options)


def _warn_of_groups(file: Path, shown: str, options: TextOptions, mark: str) -> None:
    with opened_text(file, shown, options) as stream:
        cell = badly_grouped(stream, options)
    if cell is not None:
        warnings.warn(
            localized(
                f"{shown} has the number {cell!r}, in which {mark!r} does not separate thousands: it is read as "
                f"{cell.replace(mark, '')}. Is it the decimal mark?"
            ),
            stacklevel=3,
        )


@contextmanager
def frames(file: Path, shown: str, layout: TextLayout, options: TextOptions, doing: str = "") -> Iterator[Any]:
    """Yield a function that reads the table with pandas in pieces of `chunksize` rows; a log or bar says how far it is.

    doing: what is done with the pieces, for the log; else they are read.
    Any exception within the block becomes a DataError that names the file.
    """
    pandas = optional("pandas", f"reading {shown}", "tables")
    with warnings.catch_warnings(), opened_text(file, shown, options) as stream:
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        warnings.simplefilter("ignore", pandas.errors.DtypeWarning)
        try:
            settings = layout.pandas(options)
            if settings["engine"] == "c":
                settings["low_memory"] = False
            words = doing or f"reading {shown}"
            yield lambda **more: watched(words, pandas.read_csv(stream, **{**settings, **more}), stream.share)
        except (BpError, UnicodeError):
            raise
        except (pandas.errors.ParserError, pandas.errors.EmptyDataError, pandas.errors.ParserWarning) as error:
            raise DataError(f"{shown} cannot be read as a table: {_reason(error, layout)}") from None
        except (ValueError, TypeError, OverflowError, LookupError) as error:
            raise DataError(f"{shown} cannot be read as a table: {str(error) or type(error).__name__}.") from error


class TableContents(NamedTuple):
    """The contents of a table: its number of rows, the columns that mix text and numbers, and the used columns.

    used: the number of columns up to the last one that has a cell.
    """

    rows: int
    text: list[int]
    used: int


def contents_of(pieces: Iterable[Any], width: int) -> TableContents:
    """Return the contents of a table of so many columns from its pieces."""
    rows, kinds = 0, [set[str]() for _ in range(width)]
    for piece in pieces:
        rows += len(piece)
        for at, seen in enumerate(kinds):
            seen.add(_kind(piece[at]))
    something = [seen - {"nothing"} for seen in kinds]
    text = [at for at, seen in enumerate(something) if len(seen) > 1]
    return TableContents(rows, text, 1 + max((at for at, seen in enumerate(something) if seen), default=-1))


def _kind(series: PandasSeries) -> str:
    """Return the kind of a piece of a column as pandas read it: empty, number, truth value or text."""
    if series.dtype.kind in "iu":
        return "number"
    if series.isna().all():
        return "nothing"
    # `all` ends at the first text: a column of texts is not walked through
    if series.dtype.kind == "b" or (series.dtype.kind == "O" and all(type(cell) is bool for cell in series.dropna())):
        return "flag"
    return "number" if series.dtype.kind == "f" else "text"


def _reason(error: Exception, layout: TextLayout) -> str:
    """Return pandas' message as a sentence with a hint."""
    said = " ".join(str(error).replace("Error tokenizing data. C error: ", "").split()).rstrip(".")
    if re.search("EOF inside string|unexpected end of data", said):
        return f"{said}. A quotation mark that is not closed takes in the rest of the file; --quotechar names another."
    if "does not match length" in said:
        return f"its rows have more fields than the {len(layout.names)} names of its header. Correct the header."
    fields = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", said)
    if fields:
        wanted, line, got = fields.groups()
        return (
            f"line {line} has {count_of(int(got), 'field')}, the others have {wanted}. Enclose a field that "
            f"holds {layout.sep!r} in quotation "
            "marks, or name another separator with --sep (sep=)."
        )
    return f"{said}."


def _table(frame: PandasFrame, layout: TextLayout, used: int, shown: str) -> Table:
    if len(frame) == 0:
        raise DataError(f"{shown} requires at least one row below its header, got none.")
    plain = named(frame, layout, used, shown)
    if all(kind.kind in "iuf" and isinstance(kind, np.dtype) for kind in plain.dtypes):
        return Table.of_matrix(plain.to_numpy(), plain.columns, named=layout.header is not None)
    columns = table_of(plain)
    return Table({name: columns[name] for name in columns}, named=layout.header is not None)


def named(frame: PandasFrame, layout: TextLayout, used: int, shown: str) -> PandasFrame:
    """Set the column names of a table, or of a piece of one, in which columns after the first `used` have no cell.

    Raises: DataError for cells after more separators than the header and the first rows have.
    """
    names = layout.names_of(used)
    beyond = frame.iloc[:, len(names) :]
    if beyond.shape[1] and beyond.notna().to_numpy().any():
        row = frame.index[int(beyond.notna().any(axis=1).to_numpy().argmax())]
        raise DataError(
            f"{shown} cannot be read as a table: row {row} has more fields than the others have. Correct that row."
        )
    kept: PandasFrame = frame.iloc[:, : len(names)]
    return kept.set_axis(list(names), axis=1)
