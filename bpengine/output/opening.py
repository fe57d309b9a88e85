"""Opening files so that none stays open, whenever Ctrl-C comes.

Python raises KeyboardInterrupt between two instructions. It may come after `os.open` has returned a descriptor and before a
variable holds it; then nothing closes that file until the process ends. Two ways avoid this: a file object, which closes its
file when it is freed, and a single call of C, during which nothing is raised. So files are opened by the built-in `open`,
with an opener of this module where it lacks a flag; and where a descriptor is needed, one C call appends it to a list.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

PathLike = str | os.PathLike[str]
PRIVATE = 0o600  # the mode of a file that only its owner may read and write
AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # opens a pipe without waiting for its other end to be opened


def opener(flags: int = 0, mode: int = 0o666) -> Callable[[str, int], int]:
    """Return an opener for the built-in `open`.

    flags: os.O_... in addition to those of the mode of `open`. mode: that of a created file, less the umask.

    >>> with open(os.devnull, "rb", buffering=0, opener=opener(AT_ONCE)) as file:
    ...     file.read(1)
    b''
    """

    def run(path: str, own: int) -> int:
        numbers: list[int] = []
        closing = map(os.close, numbers)
        try:
            open_into(numbers, path, own | flags, mode)
        except BaseException:  # Ctrl-C as well
            any(closing)
            raise
        return numbers[0]  # returned to C, which puts it into the file object

    return run


def open_into(numbers: list[int], path: PathLike, flags: int, mode: int = 0o666) -> None:
    """Open a file as `os.open` does, and append its descriptor to a list, in one call of C."""
    numbers.extend(map(os.open, (os.fspath(path),), (flags,), (mode,)))


def flush_folder(folder: PathLike) -> None:
    """Flush a folder's entries to the disk. Raises OSError."""
    numbers: list[int] = []
    closing = map(os.close, numbers)  # created here, so that closing is one call of C as well
    try:
        open_into(numbers, folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(numbers[0])
    finally:
        any(closing)


def temporary_path(suffix: str, folder: PathLike | None = None) -> Path:
    """Return a path that nothing has, in a folder, by default the system's for temporary files."""
    return Path(folder or tempfile.gettempdir(), f"bpengine-{secrets.token_hex(8)}{suffix}")


def nameless_file() -> FileIO:
    """Return a new file without a name, which is deleted when it is closed. Raises OSError."""
    if hasattr(os, "O_TMPFILE"):
        with suppress(OSError):  # a file system without such files
            return open(tempfile.gettempdir(), "r+b", buffering=0, opener=opener(os.O_TMPFILE, PRIVATE))
    path, removed = temporary_path(".spill"), getattr(os, "O_TEMPORARY", 0)  # Windows removes it when it is closed
    try:
        return open(path, "x+b", buffering=0, opener=opener(removed, PRIVATE))
    finally:
        if not removed:
            with suppress(FileNotFoundError):
                os.unlink(path)
