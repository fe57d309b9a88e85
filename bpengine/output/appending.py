"""Lines and records added to the end of a file: each whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bpengine.errors import WriteError
from bpengine.output.writing import PathLike


def add_line(path: PathLike, line: str) -> None:
    """Add a line to a file, which is made where there is none; raise WriteError as `add_bytes` does."""
    add_bytes(path, f"{line}\n".encode())


def add_bytes(path: PathLike, data: bytes) -> None:
    """Add bytes to a file, which is made where there is none.

    A write that is not complete is truncated again. Raises WriteError, also for a path that is no regular file.
    """
    try:
        with open(path, "ab", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError("it is no regular file")
            size = file.seek(0, os.SEEK_END)
            try:
                written = file.write(data) or 0
            except OSError:
                file.truncate(size)
                raise
            if written < len(data):
                file.truncate(size)
                raise OSError("no space is left for it")
    except OSError as error:
        raise WriteError(f"nothing can be added to {os.fspath(path)!r}: {error}.") from error


def whole_lines(path: PathLike) -> list[str]:
    """Return the lines of a text file; a last one that was not written to its end is left out. Raises WriteError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WriteError(f"{os.fspath(path)!r} cannot be read to be added to: {error}. Choose another file.") from error
    return text[: text.rfind("\n") + 1].splitlines()
