"""Lines and records appended to a file: each completely or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bpengine.errors import WriteError
from bpengine.output.writing import PathLike


def add_line(path: PathLike, line: str) -> None:
    """Append a line to a file, which is created if missing; raise WriteError as `add_bytes` does."""
    add_bytes(path, f"{line}\n".encode())


def add_bytes(path: PathLike, data: bytes) -> None:
    """Append bytes to a file, which is created if missing.

    An incomplete write is undone by truncation. Raises WriteError, also for a path that is not a regular file.
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
    """Return the lines of a text file; an incomplete last line is left out. Raises WriteError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WriteError(f"{os.fspath(path)!r} cannot be read to be added to: {error}. Choose another file.") from error
    return text[: text.rfind("\n") + 1].splitlines()
