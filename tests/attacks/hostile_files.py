"""Files that nobody should give the command line: names that a terminal obeys, damaged and nested contents."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from pathlib import Path

import numpy as np

import bpengine as bp

NAMES = (
    *("\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "x\x85y", "\u202egnp.exe", "\u2066over\u2069", "\u200e\u200f\u061c"),
    *(
        "zero\u200bwidth",
        "\u2028line\u2029",
        "\ufeff",
        "<script>alert(1)</script>",
        '"]; evil ["',
        "$\\frac{$",
        "[bold]x[/bold]",
    ),
    *("[/x]", "naïve", "\N{GREEK SMALL LETTER ALPHA}", "\N{COLLISION SYMBOL}", "a" * 300, "{0}", "%s", "\\x1b"),
)
HALVES = ("\ud800", "\udcff")  # of characters: no file in UTF-8 holds them, JSON and command lines do


def make(folder: Path) -> list[str]:
    """Write the files into a folder, and return their names."""
    before = set(folder.iterdir())
    _tables(folder)
    _arrays(folder)
    _models(folder)
    _receipts(folder)
    (folder / "folder.csv").mkdir(exist_ok=True)
    if hasattr(os, "mkfifo"):
        for name in ("pipe", "pipe.csv", "pipe.safetensors"):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(folder / name)
    with contextlib.suppress(FileExistsError):
        (folder / "link.csv").symlink_to(os.devnull)
    (folder / "empty.csv").touch()
    (folder / "empty.safetensors").touch()
    (folder / "binary.csv").write_bytes(bytes(range(256)))
    (folder / "nul.csv").write_bytes(b"a,b,c\n1,2,\0\n3,4,x\n")
    return sorted(path.name for path in set(folder.iterdir()) | before)


def _tables(folder: Path) -> None:
    for i, name in enumerate(NAMES):
        plain = name.replace('"', "")
        other = NAMES[(i + 3) % len(NAMES)].replace('"', "")
        rows = [f'{row},{row % 3},"{plain if row % 2 else other}"' for row in range(6)]
        _write(folder / f"t{i}.csv", "\n".join([f'"{plain}","b {other}","{plain} target"', *rows]))
        _write(folder / f"{plain.replace('/', '')[:40] or 'none'}.csv", "a,b,c\n1,2,3\n3,4,5\n5,6,7\n")
    digits = "9" * 5000
    _write(folder / "digits.csv", f"a,b,c\n1,2,{digits}\n3,4,{digits}\n")
    _write(folder / "long.csv", f"{'h' * 100_000},b\n1,2\n3,4\n")
    _write(folder / "extremes.csv", "a,b,c\n1e308,1e-320,x\n-1e308,nan,y\ninf,0,x\n")
    _write(folder / "big.csv", "a,b,c\n1e308,1e-320,x\n-1e308,1e300,y\n1e308,0,x\n")


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def _arrays(folder: Path) -> None:
    x, y = np.arange(12.0).reshape(6, 2), np.arange(6) % 2
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    np.savez(folder / "good.npz", x=x, y=y)
    np.savez(folder / "keys.npz", **{name[:30].replace("/", ""): x for name in NAMES[:9]})
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:-20])
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000000), }"
    (folder / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
    (folder / "nested.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000)


def _models(folder: Path) -> None:
    for i in range(0, len(NAMES) - 1, 4):
        model = bp.Model(bp.Network(2, [bp.Dense(3, "relu"), bp.Dense(2)], "softmax_cross_entropy"))
        model.class_names = NAMES[i : i + 2]
        model.save(folder / f"m{i}.safetensors")
    whole = (folder / "m0.safetensors").read_bytes()
    _with_header(folder / "half.safetensors", whole, NAMES[1], HALVES[0])
    _with_header(folder / "setting.safetensors", whole, "class_names", NAMES[0])
    _with_header(folder / "layer.safetensors", whole, "Dense", NAMES[4])
    _with_header(folder / "tensor.safetensors", whole, "0.weight", NAMES[2])
    (folder / "cut.safetensors").write_bytes(whole[:-7])


def _with_header(path: Path, whole: bytes, old: str, new: str) -> None:
    """Write a model file in whose header one text stands for another, wherever it is quoted."""
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.dumps(_exchanged(json.loads(whole[8 : 8 + size]), old, new)).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + whole[8 + size :])


def _exchanged(value: object, old: str, new: str) -> object:
    if isinstance(value, dict):
        return {_exchanged(key, old, new): _exchanged(part, old, new) for key, part in value.items()}
    if isinstance(value, list):
        return [_exchanged(part, old, new) for part in value]
    if isinstance(value, str) and value[:1] in "{[":
        return json.dumps(_exchanged(json.loads(value), old, new))
    return new if value == old else value


def _receipts(folder: Path) -> None:
    (folder / "nested.jsonl").write_text("[" * 100_000)
    (folder / "digits.jsonl").write_text('{"format": ' + "9" * 5000 + "}\n")
    (folder / "text.jsonl").write_text(json.dumps({"format": NAMES[0], NAMES[4]: NAMES[2]}) + "\n")
