"""Small files of every format, and random damage to them: cut, flipped, repeated, filled with other bytes and huge numbers."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 24
HUGE = (
    b"9" * 30,
    b"-1",
    b"1e999",
    b"\xff\xff\xff\xff",
    b"\x00",
    b'"',
    b"\n" * 9,
    b",;\t|",
    b"nan",
    b"\xff\xfe",
    b"\x93NUMPY",
)


def small_files() -> dict[str, bytes]:
    """Return the contents of a small good file of each format, by its name."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, 3)), np.arange(ROWS) % 2
    head = "a,b,c,city,when,y\n"
    text = head + "".join(
        f'{a:.3f},{b:.3f},{c:.3f},"{("Oslo", "Rio, Brazil")[k]}",2020-01-{i + 1:02d},{("no", "yes")[k]}\n'
        for i, ((a, b, c), k) in enumerate(zip(x.tolist(), y.tolist(), strict=True))
    )
    npz = io.BytesIO()
    np.savez_compressed(npz, x=x, y=y)
    plain = io.BytesIO()
    np.savez(plain, x=x, y=y)
    npy = io.BytesIO()
    np.save(npy, x)
    table = pa.table({"a": x[:, 0], "city": ["Oslo", "Rio"] * (ROWS // 2), "y": y})
    parquet = pa.BufferOutputStream()
    pq.write_table(table, parquet, write_page_checksum=True)
    idx = b"\0\0\x0d\x02" + struct.pack(">2I", ROWS, 3) + x.astype(">f4").tobytes()
    return {
        "t.csv": text.encode(),
        "t.csv.gz": gzip.compress(text.encode(), mtime=0),
        "t.tsv.bz2": bz2.compress(text.replace(",", "\t").encode()),
        "t.data.xz": lzma.compress(text.replace(",", ";").encode()),
        "t.txt.zst": pa.Codec("zstd").compress(text.encode(), asbytes=True),
        "t.npz": npz.getvalue(),
        "plain.npz": plain.getvalue(),
        "x.npy": npy.getvalue(),
        "t.parquet": parquet.getvalue().to_pybytes(),
        "x.idx": idx,
        "x.idx.gz": gzip.compress(idx, mtime=0),
    }


def _flipped(data: bytearray, at: int, length: int, rng: np.random.Generator) -> None:
    for place in rng.integers(0, max(1, len(data)), 4):
        if place < len(data):
            data[place] ^= int(rng.integers(1, 256))


def _inserted(data: bytearray, at: int, piece: bytes) -> None:
    data[at:at] = piece


DAMAGE: tuple[Callable[[bytearray, int, int, np.random.Generator], Any], ...] = (
    lambda data, at, length, rng: data.__delitem__(slice(at, None)),
    _flipped,
    lambda data, at, length, rng: data.__delitem__(slice(at, at + length)),
    lambda data, at, length, rng: _inserted(data, at, data[at : at + length] * int(rng.integers(1, 30))),
    lambda data, at, length, rng: _inserted(data, at, rng.bytes(length)),
    lambda data, at, length, rng: data.__setitem__(slice(at, at + length), HUGE[int(rng.integers(0, len(HUGE)))]),
    lambda data, at, length, rng: data.__setitem__(slice(at, at + length), bytes(length)),
)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one to three kinds of damage."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at, length = int(rng.integers(0, max(1, len(data)))), int(rng.integers(1, 40))
        DAMAGE[int(rng.integers(0, len(DAMAGE)))](data, at, length, rng)
    return bytes(data)


def mutants(folder: Path, count: int, seed: int) -> Iterator[list[str]]:
    """Write damaged files one by one, and yield the arguments of a command that reads each."""
    rng = np.random.default_rng(seed)
    files = small_files()
    names = list(files)
    np.save(folder / "y.npy", np.arange(ROWS) % 2)
    for number in range(count):
        name = names[number % len(names)]
        path = folder / f"{number}-{name}"
        path.write_bytes(damaged(files[name], rng))
        target = ["--target", str(folder / "y.npy")] if name.startswith("x.") else []
        yield ["train", str(path), *target, "--epochs", "1", "--layers", "2", "--json"]
        path.unlink()
