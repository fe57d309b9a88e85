"""The bytes of a file, decompressed, within limits: a small file may decompress to more than a machine can hold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final

from bpengine.data.validation.options import optional
from bpengine.data.validation.reading import FREE, PIECE, RATIO
from bpengine.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Buffer

LINE: Final = 64 * 2**20  # bytes of a line: it must fit into memory several times over
MAGIC: Final = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zst"}
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


def compression(path: Path) -> str | None:
    """Return how a file is compressed, by its first bytes: "gzip", "bz2", "xz", "zst", or None."""
    with path.open("rb") as file:
        first = file.read(6)
    return next((name for magic, name in MAGIC.items() if first.startswith(magic)), None)


def limit_of(path: Path, kind: str | None, max_bytes: int | None) -> int | None:
    """Return how many bytes may be read: `max_bytes`; without it any number, for a compressed file a multiple of its size."""
    if max_bytes is not None or kind is None:
        return max_bytes
    return FREE + RATIO * path.stat().st_size


def decompressed_size(path: Path, enough: int) -> int:
    """Return the bytes of a file, decompressed; counting stops above `enough`.

    Raises: DataError for damaged bytes.
    """
    kind = compression(path)
    size = path.stat().st_size
    if kind is None or FREE + RATIO * size <= enough:
        return size if kind is None else 0
    with opened(path, str(path), encoding="utf-16", max_bytes=sys.maxsize) as stream:  # in these, NUL bytes are valid
        size = 0
        while size <= enough and (piece := stream.read(PIECE)):
            size += len(piece)
    return size


@contextmanager
def opened(
    path: Path, shown: str, *, encoding: str = "utf-8", max_bytes: int | None = None
) -> Iterator[MeasuredReader]:
    """Open a text file for reading its bytes, decompressed.

    `shown` is its name in messages; encoding: of the text; max_bytes: of the decompressed bytes.
    Raises: DataError that names the file, here or while it is read, for damaged bytes and for more than the limits.
    """
    kind = compression(path)
    with path.open("rb") as raw, _decompressed(raw, kind, shown) as stream:
        checked = _Checked(stream, shown, limit_of(path, kind, max_bytes), kind, encoding)
        yield MeasuredReader(checked, raw, path.stat().st_size)


class MeasuredReader(io.BufferedReader):
    """A stream that knows which share of its file has been read."""

    def __init__(self, stream: io.RawIOBase, file: BinaryIO, size: int) -> None:
        super().__init__(stream, PIECE)
        self._file, self._size = file, size

    def share(self) -> float | None:
        """Return the share of the file's bytes, compressed or not, that has been read; None of what has no size."""
        return self._file.tell() / self._size if self._size else None


@contextmanager
def _decompressed(raw: BinaryIO, kind: str | None, shown: str) -> Iterator[Any]:
    if kind is None:
        yield raw
    elif kind == "zst":
        arrow = optional("pyarrow", f"reading {shown}", "tables")
        with arrow.input_stream(raw, compression="zstd") as stream:
            yield stream
    else:
        module: Any = {"gzip": gzip, "bz2": bz2, "xz": lzma}[kind]
        with module.open(raw, "rb") as stream:
            yield stream


class _Checked(io.RawIOBase):
    """A stream that stops at its limits, and names the file in every error."""

    def __init__(self, stream: IO[bytes], shown: str, limit: int | None, kind: str | None, encoding: str) -> None:
        self._stream, self._shown, self._limit, self._kind = stream, shown, limit, kind
        self._narrow = not re.search("16|32", encoding)  # single bytes; elsewhere every second byte may be 0
        self._read, self._line = 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill a buffer and return the number of bytes; 0 at the end."""
        room = memoryview(buffer).cast("B")
        try:
            piece = bytes(self._stream.read(min(len(room), PIECE)))
        except DAMAGED as error:
            raise DataError(
                f"{self._shown} is damaged or cut off: its {self._kind or 'bytes'} cannot be read: {error}. "
                "Get the file again."
            ) from None
        self._check(piece)
        room[: len(piece)] = piece
        return len(piece)

    def _check(self, piece: bytes) -> None:
        self._read += len(piece)
        if self._limit is not None and self._read > self._limit:
            what = f" of {self._kind} once decompressed" if self._kind else ""
            raise DataError(
                f"{self._shown} holds more than {self._limit:,} bytes{what}. "
                f"Allow more with --max-bytes (max_bytes=), if you trust the file."
            )
        if self._narrow:
            self._require_text(piece)
        last = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        self._line = self._line + len(piece) if last < 0 else len(piece) - last - 1
        if self._line > LINE:
            raise DataError(f"{self._shown} has a line of more than {LINE:,} bytes. It is no table that can be read.")

    def _require_text(self, piece: bytes) -> None:
        """Raise DataError for bytes that are not text in a single-byte encoding."""
        before = self._read - len(piece)
        if before == 0 and piece.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(f"{self._shown} begins as text in UTF-16. Say --encoding utf-16 (encoding='utf-16').")
        if (at := piece.find(b"\0")) >= 0:
            raise DataError(
                f"{self._shown} has the character NUL at byte {before + at:,}: it is damaged, no text, or text in UTF-16 "
                "(--encoding utf-16)."
            )


@contextmanager
def standard_input(max_bytes: int | None) -> Iterator[Path]:
    """Copy standard input to a temporary file for the time of the block, so that it can be read more than once.

    Raises: DataError for more than `max_bytes`.
    """
    with tempfile.NamedTemporaryFile(prefix="bpengine-", suffix=".stdin") as file:
        while piece := sys.stdin.buffer.read(PIECE):
            file.write(piece)
            if max_bytes is not None and file.tell() > max_bytes:
                raise DataError(f"standard input holds more than {max_bytes:,} bytes. Allow more with --max-bytes.")
        file.flush()
        yield Path(file.name)
