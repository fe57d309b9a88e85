"""IDX, the file format of MNIST: two zero bytes, a type code, the number of axes, their lengths, then the values.

Lengths and values are big endian. Source: LeCun, Cortes, Burges, "The MNIST database", section "File formats".
"""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from bpengine.data.files.npy import as_data_error
from bpengine.data.table import Array
from bpengine.data.validation.reading import FREE, PIECE, RATIO, AnyPath, existing
from bpengine.errors import DataError

DTYPES = MappingProxyType({0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"})
AXES = 32


class Header(NamedTuple):
    """The type and shape of the values, and where they start (bytes)."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def payload(self) -> int:
        """Number of bytes of all values."""
        return math.prod(self.shape) * int(self.dtype[-1])


@as_data_error("IDX")
def read_idx(path: AnyPath, max_bytes: int | None = None) -> Array:
    """Read an IDX file, compressed with gzip or not.

    One-byte values of an uncompressed file are memory-mapped, read-only; wider ones are read and brought into this
    machine's byte order. max_bytes: most bytes of values, decompressed; for a compressed file by default 64 MiB plus
    fifty times its size.
    Raises: DataError naming the file for a wrong magic number, or with the expected and found byte counts.
    """
    path = existing(path)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    if compressed:
        with gzip.open(path) as unpacked:
            limit = FREE + RATIO * path.stat().st_size if max_bytes is None else max_bytes
            return _read_values(path, cast(BinaryIO, unpacked), limit)
    with path.open("rb") as file:
        header = read_header(path, file)
        if header.dtype[-1] != "1" or header.payload == 0:
            file.seek(0)
            return _read_values(path, file, path.stat().st_size if max_bytes is None else max_bytes)
    _require_bytes(path, header, path.stat().st_size - header.offset)
    return np.memmap(path, header.dtype[1:], "r", header.offset, header.shape)


def read_header(path: Path, file: BinaryIO) -> Header:
    """Read the header.

    Raises: DataError for a wrong magic number or a header that ends too early.
    """
    magic = file.read(4)
    if len(magic) < 4:
        raise DataError(f"{path} requires an IDX header of at least 4 bytes, got {len(magic)} bytes.")
    if magic[:2] != b"\0\0" or magic[2] not in DTYPES or magic[3] == 0:
        known = ", ".join(f"{code:02x}" for code in DTYPES)
        wanted = f"two zero bytes, a type code ({known}) and the number of axes"
        raise DataError(f"{path} requires the IDX magic number: {wanted}; got the bytes {magic.hex(' ')}.")
    lengths = file.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise DataError(f"{path} requires {4 * magic[3]} bytes of axis lengths, got {len(lengths)} bytes.")
    if magic[3] > AXES:
        raise DataError(f"{path} requires at most {AXES} axes, got {magic[3]}.")
    shape = struct.unpack(f">{magic[3]}I", lengths)
    if 0 in shape:
        raise DataError(f"{path} requires at least one value, got the shape {shape}.")
    return Header(DTYPES[magic[2]], shape, 4 + len(lengths))


def _read_values(path: Path, file: BinaryIO, limit: int) -> Array:
    """Read the values piece by piece: a file may hold fewer than its header says."""
    header = read_header(path, file)
    values = bytearray()
    while len(values) < header.payload and (piece := file.read(min(PIECE, header.payload - len(values)))):
        values += piece
        if len(values) > limit:
            raise DataError(f"{path} holds more than {limit:,} bytes. Allow more with --max-bytes (max_bytes=).")
    _require_bytes(path, header, len(values) + len(file.read(1)))
    array = np.frombuffer(values, header.dtype).reshape(header.shape)
    return array.astype(array.dtype.newbyteorder("="))


def _require_bytes(path: Path, header: Header, size: int) -> None:
    if size != header.payload:
        state = "truncated" if size < header.payload else "longer than its header says"
        wanted = f"{header.payload:,} bytes of values for shape {header.shape}"
        more = "" if size < header.payload else " or more"
        raise DataError(f"{path} is {state}: expected {wanted}, found {size:,}{more}.")
