"""The layout of a text table, from its first lines: separator, header and decimal mark.

pandas reads the table; this module infers what pandas does not. pandas never infers a header or a decimal mark. It infers a
separator with `sep=None`, by applying `csv.Sniffer` to the first line. No maintained library that was tried is accurate
enough: of the 44 samples of `bench/separators.py`, in the dialects of public files, clevercsv 0.8.5 misses 6, csv.Sniffer 8,
pandas 3.1 and DuckDB 2.0 (66 MB) 10 each. polars and pyarrow infer no separator. They miss common cases: runs of blanks,
where they count every blank (Boston housing), blanks beside tabs (auto-mpg), a decimal comma between blanks, and a single
column, which they split at a blank or a letter (names such as "nana" at "n"). None infers "::" (MovieLens): use --sep.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

from bpengine.data.table import one_line
from bpengine.data.tables.missing_texts import texts_of
from bpengine.errors import ConfigError, DataError
from bpengine.i18n.counted_nouns import count_of

HEAD_LINES: Final = 100
HEAD_BYTES: Final = 16 * 2**20
BLANK_LINE: Final = 100  # the least number of bytes that a line is counted as
COLUMNS: Final = 100_000
BLANKS: Final = r"\s+"
SEPARATORS: Final = ("\t", ";", "|", ",", BLANKS)  # those that are least often part of a field come first
MISSING: Final = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "#n/a", "<na>"})
NO_HEADER: Final = "none"
# the first year; how many years, and how many other numbers, are taken for names of columns
YEAR, YEARS, NUMBERED = 1000, 3, 5


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    r"""The format of a text table, under pandas' names; None is inferred from the first lines.

    sep (or delimiter): the separator of fields; r"\s+" for runs of blanks and tabs. header: True for names in the first line,
    False or "none" for no names, or the number of the line that holds them. decimal, thousands: marks within numbers.
    encoding: "utf-8", "latin-1", "utf-16", ... comment: the mark that begins a comment. skiprows: lines to skip before the
    table. quotechar: the mark around a field. na_values: further texts of missing cells. max_bytes: most bytes to read,
    decompressed.
    """

    sep: str | None = None
    delimiter: str | None = None
    header: bool | int | str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str = "utf-8"
    comment: str | None = None
    skiprows: int = 0
    quotechar: str = '"'
    na_values: Sequence[str] = ()
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("decimal", "thousands", "comment", "quotechar"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or len(value) != 1):
                raise ConfigError(f"a table requires {name} of one character, got {value!r}.")
        for name in ("sep", "delimiter"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value or value in "\r\n"):
                raise ConfigError(f"a table requires {name} to be a text such as ';' or {BLANKS!r}, got {value!r}.")
        if isinstance(self.header, str) and self.header != NO_HEADER and not self.header.isdecimal():
            raise ConfigError(f"a table requires header to be a line's number or 'none', got {self.header!r}.")
        self._require_counts()

    def _require_counts(self) -> None:
        for name in ("skiprows", "max_bytes"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise ConfigError(f"a table requires {name} to be a whole number of at least 0, got {value!r}.")
        if isinstance(self.header, int) and self.header < 0:
            raise ConfigError(f"a table requires header to be a line's number from 0, got {self.header}.")
        try:
            "".encode(self.encoding)
        except (LookupError, TypeError, UnicodeError):
            raise ConfigError(f"a table requires an encoding that Python knows, got {self.encoding!r}.") from None

    @property
    def header_line(self) -> int | None:
        """The number of the line with the names; None for no names, -1 to be inferred."""
        if self.header is None:
            return -1
        if self.header is False or self.header == NO_HEADER:
            return None
        return 0 if self.header is True else int(self.header)


@dataclass(frozen=True, kw_only=True)
class TextLayout:
    """How to read a table: pandas' settings, the names of the columns, and which of them exist.

    spare: names of the columns after these, which have neither a name nor a cell in the first lines: trailing separators, or
    columns in which few rows have a cell.
    """

    sep: str
    header: int | None
    decimal: str
    names: tuple[str, ...]
    spare: tuple[str, ...]
    width: int

    def names_of(self, used: int) -> tuple[str, ...]:
        """Return the names of the columns of a table in which no column after the first `used` has a cell."""
        return self.names + self.spare[: max(0, used - len(self.names))]

    def pandas(self, options: TextOptions) -> dict[str, Any]:
        """Return the keyword arguments of `pandas.read_csv`."""
        return {
            "sep": self.sep, "header": self.header, "names": range(self.width), "index_col": False,
            "decimal": self.decimal, "thousands": options.thousands, "encoding": options.encoding,
            "comment": options.comment, "skiprows": options.skiprows, "quotechar": options.quotechar,
            "na_values": ["?", *texts_of(options.na_values)], "skipinitialspace": self.sep != BLANKS,
            "engine": "c" if len(self.sep) == 1 or self.sep == BLANKS else "python",
        }  # fmt: skip


def find_layout(file: BinaryIO, shown: str, options: TextOptions) -> TextLayout:
    """Return the layout of a table from its first lines.

    Raises: DataError for an empty file, a header that does not fit the rows, two columns of one name; UnicodeError for text
    in another encoding.
    """
    lines, whole = _head(file, options)
    if not lines:
        skipped = f" behind the {options.skiprows:,} that are skipped" if options.skiprows else ""
        got = f"none{skipped}" if whole else f"nothing but blank lines at its beginning{skipped}"
        raise DataError(f"{shown} requires at least one row, got {got}.")
    sep, rows = _separated(lines, options, whole=whole)
    line = options.header_line
    rows = rows[max(0, line or 0) :]
    if not rows:
        raise DataError(f"{shown} requires a header in line {line}, got fewer lines. Give another header.")
    body_width = _width(rows[1:] or rows)
    marks = replace(options, decimal=options.decimal or _decimal(rows, sep))
    if line == -1:
        line = 0 if _is_header(rows, marks) else None
    names, spare, width = _names(shown, rows, body_width, header=line is not None)
    if line is not None and len(rows) == 1 and whole:
        raise DataError(f"{shown} requires at least one row below its header, got none.")
    return TextLayout(sep=sep, header=line, decimal=marks.decimal or ".", names=names, spare=spare, width=width)


def badly_grouped(file: BinaryIO, options: TextOptions) -> str | None:
    """Return a number of the first lines in which the thousands mark separates groups of other than three digits, else None.

    Read with that mark, "1.5" would be 15. Raises: UnicodeError for text in another encoding.
    """
    if options.thousands is None:
        return None
    lines, whole = _head(file, options)
    mark = re.escape(options.thousands)
    number = re.compile(rf"[+-]?\d+(?:{mark}\d+)+(?:[.,]\d*)?")
    grouped = re.compile(rf"[+-]?\d{{1,3}}(?:{mark}\d{{3}})+(?!\d)(?:[.,]\d*)?")
    _, rows = _separated(lines, options, whole=whole) if lines else ("", [])
    cells = (cell for row in rows for cell in row)
    return next((cell for cell in cells if number.fullmatch(cell) and not grouped.fullmatch(cell)), None)


def _head(file: BinaryIO, options: TextOptions) -> tuple[list[str], bool]:
    """Return the first lines that are not blank, without comments, and whether they are the whole file."""
    text = io.TextIOWrapper(file, encoding=_with_mark(options.encoding), newline="")
    try:
        for _ in range(options.skiprows):
            if not text.readline(HEAD_BYTES):
                return [], True
        kept: list[str] = []
        size = 0
        while len(kept) < HEAD_LINES and size < HEAD_BYTES:
            line = text.readline(HEAD_BYTES)
            size += max(len(line), BLANK_LINE)
            if not line:
                return kept, True
            if options.comment is not None:
                line = line.partition(options.comment)[0]
            if line.strip():
                kept.append(line)
        return kept, False
    finally:
        with suppress(ValueError):
            text.detach()


def _with_mark(encoding: str) -> str:
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def _separated(lines: list[str], options: TextOptions, *, whole: bool) -> tuple[str, list[list[str]]]:
    """Return the separator and the rows of fields.

    Separators that give all rows the same number of fields, at least 2, come first; among these, those with which the first
    row has as many fields, then those with which most columns are numbers.
    """
    wanted = options.sep or options.delimiter
    tried: list[tuple[str, list[list[str]]]] = []
    for sep in (wanted,) if wanted else [sep for sep in SEPARATORS if _may_separate(sep, lines, options)]:
        with long_fields():
            rows = [row for row in _split(lines, sep, options) if any(row)]
        # the last row may continue after the first lines
        tried.append((sep, rows if whole or len(rows) < 2 else rows[:-1]))
    fitting = [(sep, rows) for sep, rows in tried if _even(rows) and not _is_prose(sep, rows, options)]
    if fitting:
        return max(fitting, key=lambda pair: _likely(pair[0], pair[1], options))  # among equal ones the first
    present = [pair for pair in tried if pair[0] in lines[0]] or [f for f in tried if f[0] == ","] or tried
    return present[0]


def _may_separate(sep: str, lines: list[str], options: TextOptions) -> bool:
    """Return whether a mark may separate fields: the decimal mark only where numbers with it are quoted."""
    if sep != options.decimal:
        return True
    number = re.compile(rf"[-+]?\d*{re.escape(sep)}\d+")
    with long_fields():
        return any(number.fullmatch(field) for row in _split(lines, sep, options) for field in row)


def _even(rows: list[list[str]]) -> bool:
    """Return whether all rows have the same number of fields, at least 2, and the first no more."""
    widths = {len(row) for row in rows[1:] or rows}
    return len(widths) == 1 and widths != {1} and len(rows[0]) <= min(widths)


def _is_prose(sep: str, rows: list[list[str]], options: TextOptions) -> bool:
    """Return whether blanks separate words of sentences: the first row has far fewer fields, and few fields are numbers."""
    return sep == BLANKS and not any(_likely(sep, rows, options))


def _likely(sep: str, rows: list[list[str]], options: TextOptions) -> tuple[int, bool]:
    """Return how well the first row fits the others, and whether most columns are numbers.

    2: it has as many fields; 1: one less, as in headers written by R; 0: fewer.
    """
    body = rows[1:] or rows
    marks = replace(options, decimal=options.decimal or _decimal(rows, sep))
    numbers = sum(_numeric([row[at] for row in body], marks) for at in range(len(body[0])))
    return max(0, 2 - len(body[0]) + len(rows[0])), 2 * numbers > len(body[0])


@contextmanager
def long_fields() -> Iterator[None]:
    """Let the csv module accept fields as long as the first lines, within the block."""
    usual = csv.field_size_limit(HEAD_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def _split(lines: list[str], sep: str, options: TextOptions) -> list[list[str]]:
    if sep == BLANKS:
        return list(csv.reader((" ".join(line.split()) for line in lines), delimiter=" ", quotechar=options.quotechar))
    if len(sep) == 1:
        return [
            [field.strip() for field in row]
            for row in csv.reader(lines, delimiter=sep, quotechar=options.quotechar, skipinitialspace=True)
        ]
    try:
        return [[field.strip() for field in re.split(sep, line.rstrip("\r\n"))] for line in lines]
    except re.error as error:
        raise ConfigError(f"a table requires sep to be text or a regular expression, got {sep!r}: {error}.") from None


def _width(rows: list[list[str]]) -> int:
    return Counter(map(len, rows)).most_common(1)[0][0]


def _names(
    shown: str, rows: list[list[str]], width: int, *, header: bool
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Return the names of the columns, those of columns that are empty so far, and the fields of a row."""
    fields, body = (rows[0], rows[1:]) if header else ([], rows)
    every = max(width, len(fields))
    kept = _without_trailing([fields, *body], every)
    places = len(fields) if header else every
    fields = fields[:kept]
    if header and len(fields) == kept - 1:
        fields = ["", *fields]  # R writes the rows' names in a column without a name
    if header and len(fields) != kept:
        raise DataError(
            f"{shown} has {count_of(len(fields), 'name')} in its header, and {count_of(kept, 'field')} in its "
            f"rows. Correct the header, or skip lines "
            "with --skiprows (skiprows=)."
        )
    if kept > COLUMNS:
        raise DataError(f"{shown} has {kept:,} columns, at most {COLUMNS:,} can be read.")
    names = tuple(f"column {at}" for at in range(kept)) if not header else tuple(_named(fields))
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(
            f"{shown} has two columns of the name {twice[0]!r}. Rename one; if the first line holds no names, say --header "
            "none (header=False)."
        )
    return names, tuple(f"column {at}" for at in range(kept, places)), every


def _without_trailing(rows: list[list[str]], width: int) -> int:
    """Return the number of columns up to the last one with a field that is not empty, at least 1."""
    used = (at for at in reversed(range(1, width)) if any(row[at] for row in rows if len(row) > at))
    return 1 + next(used, 0)


def _named(fields: Sequence[str]) -> list[str]:
    return [one_line(field) or f"column {at}" for at, field in enumerate(fields)]


def unnamed(name: str) -> bool:
    """Return whether a column has no name, or only one that a program writes for columns without names."""
    return bool(re.fullmatch(r"column \d+|Unnamed: \d+|index|__index_level_\d+__", name))


def _is_header(rows: list[list[str]], options: TextOptions) -> bool:
    """Return whether the first row holds names.

    It does if a name is above a column of numbers, if no field is a number, or if its numbers count the columns.
    """
    first, body = rows[0], rows[1:]
    numbers = [_number(field, options) for field in first]
    if not any(numbers) and any(first):
        return True
    if body and _numbers_columns(first) and not any(map(_numbers_columns, body)):
        return True
    columns = ([row[at] for row in body if at < len(row)] for at in range(len(first)))
    return any(
        not number and field.lower() not in MISSING and _numeric(column, options)
        for field, number, column in zip(first, numbers, columns, strict=True)
    )


def _numbers_columns(row: list[str]) -> bool:
    """Return whether the numbers in a row count the columns, each one more than the one before.

    These are at least three years beside a name, a blank before 0, 1, ... as pandas writes an index, or at least five of any
    kind: fewer may as well be a row of small numbers.
    """
    counted = [int(field) for field in row if field.isdecimal()]
    if not counted or counted != list(range(counted[0], counted[0] + len(counted))):
        return False
    named = [field for field in row if not field.isdecimal()]
    if any(re.match(r"[-+.]?\d", field) for field in named):  # dates, numbers with a point
        return False
    years = counted[0] >= YEAR and bool(named)
    index = named == [""] and not row[0] and counted[0] == 0
    return len(counted) >= (YEARS if years else 2 if index else NUMBERED)


def _decimal(rows: list[list[str]], sep: str) -> str:
    """Return the decimal mark: a comma where more columns are numbers with it than with a point."""
    if sep == ",":
        return "."
    body = rows[1:] or rows
    counts = {}
    for mark in (".", ","):
        options = TextOptions(decimal=mark)
        columns = ([row[at] for row in body if at < len(row)] for at in range(len(rows[-1])))
        counts[mark] = sum(_numeric(column, options) for column in columns)
    return "," if counts[","] > counts["."] else "."


def _numeric(cells: list[str], options: TextOptions) -> bool:
    there = [cell for cell in cells if cell.lower() not in MISSING]
    return bool(there) and all(_number(cell, options) for cell in there)


def _number(text: str, options: TextOptions) -> bool:
    if options.thousands:
        text = text.replace(options.thousands, "")
    if options.decimal and options.decimal != ".":
        if "." in text:
            return False
        text = text.replace(options.decimal, ".")
    try:
        float(text)
    except ValueError:
        return False
    return True


__all__ = [
    "BLANKS",
    "MISSING",
    "TextLayout",
    "TextOptions",
    "badly_grouped",
    "find_layout",
    "unnamed",
]
