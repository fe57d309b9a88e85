"""Visible streams: control characters in text for stdout and stderr are escaped before a terminal sees them.

Names in files may hold escape sequences that a terminal would execute. They are printed as escapes, and so are characters
that the stream's encoding lacks. The program's own colours (tables, whose cells are already escaped, and rich's progress
bars) go to the underlying stream directly.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from bpengine.output.visible import visible

NARROWEST, WIDEST = 20, 10_000  # columns of a table
# the variables that rich and typer read from the environment
SIZES: Final = {"COLUMNS": (NARROWEST, WIDEST), "LINES": (1, WIDEST)}


class Gone(Exception):
    """The reader of the output has closed its pipe."""


class Guard(io.TextIOBase):
    """A text stream that escapes text and writes it to an underlying stream, which is None where the process has none.

    shown: the function that escapes a text; `own` is the same stream for the program's own text, unescaped.
    A stream that has failed keeps failing with the same error, so a library that ignores an error does not hide it.
    """

    def __init__(self, stream: TextIO | None, name: str, shown: Callable[[str], str] = visible) -> None:
        self._stream, self._called, self.shown = stream, name, shown
        self._failures = list[OSError]()

    @property
    def own(self) -> Guard:
        """The stream for the program's own text and for escaped text."""
        own = Guard(self._stream, self._called, str)
        own._failures = self._failures
        return own

    rich_proxied_file = own  # where rich writes its colours and bars

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed: an attribute
        """The encoding of the underlying stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override] # typeshed: an attribute
        """The error handler of the underlying stream; it is never needed."""
        return getattr(self._stream, "errors", None) or "strict"

    def writable(self) -> bool:
        """Text can be written."""
        return True

    def isatty(self) -> bool:
        """Return whether the underlying stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the underlying file descriptor."""
        if self._stream is None:
            raise io.UnsupportedOperation(f"there is no {self._called}")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write text, escaped; return its length."""
        with self._errors_named():
            if self._stream is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            shown = self.shown(text)
            try:
                self._stream.write(shown)
            except UnicodeEncodeError:
                self._stream.write(shown.encode(self.encoding, "backslashreplace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the underlying stream."""
        if self._stream is not None:
            with self._errors_named():
                self._stream.flush()

    def close(self) -> None:
        """Do nothing: this object does not own the underlying stream.

        Python closes a stream that it frees, perhaps after the underlying one was closed. Then a flush fails, which Python
        reports from 3.13 on.
        """

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Name the stream in the error of a failed write; raise Gone where the reader has closed the pipe."""
        try:
            if self._failures:
                raise self._failures[0]
            yield
        except OSError as error:
            self._failures.append(error)
            self._discard()
            if isinstance(error, BrokenPipeError):
                raise Gone from error
            raise OSError(error.errno, error.strerror, f"<{self._called}>") from error

    def _discard(self) -> None:
        """Send the rest of the buffer to the null device: Python would fail on it again at exit."""
        with suppress(OSError, ValueError, AttributeError), open(os.devnull, "r+b", buffering=0) as nowhere:
            os.dup2(nowhere.fileno(), self.fileno())


@contextmanager
def guarded() -> Iterator[None]:
    """Guard stdout and stderr in a `with` block, and hide invalid sizes of a terminal in the environment."""
    streams, sizes = (sys.stdout, sys.stderr), _invalid_sizes()
    sys.stdout, sys.stderr = Guard(sys.stdout, "stdout"), Guard(sys.stderr, "stderr")
    for name in sizes:
        del os.environ[name]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        os.environ.update(sizes)


def _invalid_sizes() -> dict[str, str]:
    """Return COLUMNS and LINES if they are not whole numbers in the supported range."""
    values = {name: os.environ[name] for name in SIZES if name in os.environ}
    return {name: text for name, text in values.items() if not _is_valid(text, *SIZES[name])}


def _is_valid(text: str, low: int, high: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 9 and low <= int(text) <= high
