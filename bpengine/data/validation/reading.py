"""Shared by readers of files: paths, limits of size, and the exceptions of other libraries for damaged bytes.

A small compressed file may hold more than a machine can.
"""

from __future__ import annotations

import csv
import lzma
import os
import re
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Final

from bpengine.errors import DataError

AnyPath = str | os.PathLike[str]
PIECE: Final = 1 << 20
IDX_NAME: Final = re.compile(r"(\.idx|idx\d+([-.]\w+)?|-ubyte)(\.gz)?$")
FREE: Final = 64 * 2**20  # decompressed bytes that every compressed file may have
RATIO: Final = 50  # plus this many times its own size; tables are seldom compressed to less than a twentieth
UNREADABLE: Final = (  # NumPy parses a header as code, hence SyntaxError
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, MemoryError),
    *(OSError, EOFError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, csv.Error),
)


def existing(path: AnyPath) -> Path:
    """Return the path, with "~" expanded.

    Raises: DataError when there is no such file.
    """
    file = expand_home(Path(path))
    if file.is_file():
        return file
    kind = "is a folder" if file.is_dir() else "is no regular file" if file.exists() else "does not exist"
    raise DataError(f"the data file {str(path)!r} {kind}. Paths are relative to {Path.cwd()}.")


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file holds arrays, by its name: .npy, .npz or IDX. Every other one is a table."""
    ending = Path(path).name.lower()
    return ending.endswith((".npy", ".npz")) or bool(IDX_NAME.search(ending))


def expand_home(path: Path) -> Path:
    """Return the path with "~" and "~user" replaced by the home folder.

    Raises: DataError when there is no such user, or the user's home folder is not known.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        hint = f"Write ./{path} for a file of that name." if not path.is_absolute() else ""
        raise DataError(f"{str(path)!r} begins with the home folder of a user who is not known here. {hint}") from error


def reason(error: BaseException) -> str:
    """Return a library's message about damaged bytes, in one line; MemoryError and others often have none."""
    if isinstance(error, MemoryError):
        return "it requires more memory than there is"
    return " ".join(str(error).split()) or type(error).__name__
