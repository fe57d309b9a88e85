"""The decompressed size of the pages of a Parquet file, from their headers: the footer may state less than pyarrow reads.

A page's header is a structure of Thrift's compact protocol: https://github.com/apache/parquet-format, parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

FIRST: Final = 256  # bytes of a header that are read first; a header with statistics may have more
LONGEST: Final = 16 * 2**20  # bytes of a header at most, as in pyarrow
DEEPEST: Final = 8  # structures within structures
STOP, TRUE, FALSE, BYTE, INTEGERS, DOUBLE, TEXT, LISTS, MAP, STRUCT = 0, 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 11, 12
UNFOLDED, COMPRESSED, DATA, DATA_V2 = 2, 3, 5, 8  # numbers of the fields of a page's header
VALUES: Final = 1  # number of a field of a data page's header


class PageSize(NamedTuple):
    """Bytes of a decompressed page, and its number of values, 0 for a dictionary."""

    unfolded: int
    values: int


def pages(file: BinaryIO, start: int, length: int, values: int) -> Iterator[PageSize]:
    """Yield the pages of a column that begins at byte `start` and has `length` bytes, until there are `values` values.

    Raises: ValueError for a header that cannot be read.
    """
    at, end, left = start, start + length, values
    while at < end and left > 0:
        header, size = _header(file, at)
        about = header.get(DATA, header.get(DATA_V2))
        page = PageSize(_count(header, UNFOLDED), 0 if about is None else _count(about, VALUES))
        at += size + _count(header, COMPRESSED)
        left -= page.values
        yield page


def _count(header: object, number: int) -> int:
    value = header.get(number) if isinstance(header, dict) else None
    if not isinstance(value, int) or value < 0:
        raise ValueError("the header of a page is damaged")
    return value


def _header(file: BinaryIO, at: int) -> tuple[dict[int, Any], int]:
    """Return the fields of the header at a byte, and its length."""
    size = FIRST
    while size <= LONGEST:
        file.seek(at)
        piece = file.read(size)
        try:
            fields = _Compact(piece)
            return fields.struct(), fields.at
        except IndexError:
            if len(piece) < size:
                break
            size *= 8
    raise ValueError("the header of a page is cut off")


class _Compact:
    """Reads one structure; IndexError at the end of the bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise ValueError("the header of a page has a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the fields by their numbers."""
        if depth > DEEPEST:
            raise ValueError("the header of a page is nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != STOP:
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 0x0F, depth)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind in INTEGERS:
            return self._signed()
        if kind == STRUCT:
            return self.struct(depth + 1)
        self._skip(kind, depth)
        return None

    def _skip(self, kind: int, depth: int) -> None:
        """Skip a value that no page's size depends on."""
        if kind in (BYTE, DOUBLE):
            self.at += 1 if kind == BYTE else 8
        elif kind == TEXT:
            length = self._unsigned()
            self.at += length
        elif kind in LISTS:
            head = self._byte()
            count = self._unsigned() if head >> 4 == 15 else head >> 4
            for _ in range(count):
                self._element(head & 0x0F, depth)
        else:
            raise ValueError(f"the header of a page has a value of the unknown kind {kind}")
        self._data[self.at - 1]

    def _element(self, kind: int, depth: int) -> None:
        if kind in (TRUE, FALSE):
            self._byte()
        else:
            self._value(kind, depth)
