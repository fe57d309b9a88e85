"""Damaged data files: whatever a reader below raises at their bytes, one DataError names the file."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bpengine as bp


def npy(header: str) -> bytes:
    """Return an array file with any header, and a few bytes of values."""
    padded = header.encode() + b" " * (-len(header) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + b"\0" * 64


def described(shape: str, order: str = "False", dtype: str = "'<f4'") -> bytes:
    return npy(f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}")


def npz(x: bytes, method: int = 0) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("x.npy", x)
    content = bytearray(held.getvalue())
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        begin = content.index(signature) + at
        content[begin : begin + 2] = struct.pack("<H", method)
    return bytes(content)


DAMAGED: dict[str, Callable[[], bytes]] = {
    "negative.npy": lambda: described("(-3, 2)"),
    "large.npy": lambda: described(f"({10**30}, 2)"),
    "text.npy": lambda: described("('a', 2)"),
    "unhashable.npy": lambda: npy("{[]: 1, }"),
    "number.npy": lambda: described("()"),
    "large.npz": lambda: npz(described(f"({10**30}, 2)")),
    "method.npz": lambda: npz(described("(2, 2)"), method=77),
    "axes-ubyte": lambda: b"\0\0\x08\x41" + struct.pack(">65I", *[1] * 65) + b"\0",
    "lengths-ubyte": lambda: b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 0),
    "long-ubyte.gz": lambda: gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", *[2**32 - 1] * 3)),
    "open.csv": lambda: b'a,b\n1,x\n2,"y\n3,x\n',
    "short.csv.gz": lambda: gzip.compress(b"a,b\n1,2\n" * 1000)[:-30],
    "fields.csv": lambda: b"a,b\n1,2\n3,4,\n",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(DAMAGED[name]())
    with pytest.raises(bp.DataError) as raised:
        bp.data.read_arrays(path, **({"keys": ("x",)} if name.endswith("npz") else {}))
    assert name in str(raised.value)


def test_a_separator_is_text_or_a_regular_expression(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a  b\n1  2\n")
    assert bp.data.read_arrays(path, target=False, delimiter=r"\s+").x.tolist() == [[1.0, 2.0]]
    for wrong in ("", 3, "\n"):
        with pytest.raises(bp.ConfigError, match="requires delimiter to be a text"):
            bp.data.read_arrays(path, delimiter=wrong)
    with pytest.raises(bp.ConfigError, match="a regular expression"):
        bp.data.read_arrays(path, sep="(((")


def test_readers_take_their_path_by_name_too(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    assert bp.data.read_npy(path=tmp_path / "x.npy").shape == (2, 3)
