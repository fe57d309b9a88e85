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

from bpengine.data.dataset import Array
from bpengine.data.files.npy import AnyPath, as_data_error, existing
from bpengine.errors import DataError

DTYPES = MappingProxyType({0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"})


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
def read_idx(path: AnyPath) -> Array:
    """Read an IDX file, compressed with gzip or not.

    One-byte values of an uncompressed file are memory-mapped, read-only; wider ones are read and brought into this
    machine's byte order.
    Raises: DataError naming the file for a wrong magic number, or with the expected and found byte counts.
    """
    path = existing(path)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    if compressed:
        with gzip.open(path) as unpacked:
            return _read_values(path, cast(BinaryIO, unpacked))
    with path.open("rb") as file:
        header = read_header(path, file)
        if header.dtype[-1] != "1" or header.payload == 0:
            file.seek(0)
            return _read_values(path, file)
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
    return Header(DTYPES[magic[2]], struct.unpack(f">{magic[3]}I", lengths), 4 + len(lengths))


def _read_values(path: Path, file: BinaryIO) -> Array:
    header = read_header(path, file)
    values = file.read(header.payload)
    _require_bytes(path, header, len(values) + len(file.read(1)))
    array = np.frombuffer(values, header.dtype).reshape(header.shape)
    return array.astype(array.dtype.newbyteorder("="))


def _require_bytes(path: Path, header: Header, size: int) -> None:
    if size != header.payload:
        state = "truncated" if size < header.payload else "longer than its header says"
        wanted = f"{header.payload:,} bytes of values for shape {header.shape}"
        more = "" if size < header.payload else " or more"
        raise DataError(f"{path} is {state}: expected {wanted}, found {size:,}{more}.")
