"""The one filter between the program and the terminal: whatever is written to stdout and stderr can be seen.

Names in files may hold escapes that a terminal obeys. They are shown as escapes instead, and so are characters that
the encoding of the stream lacks. The colours of the program's own tables, whose cells were made visible before, and the bars
of rich are written to the stream beneath.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from bpengine.visible import visible

NARROWEST, WIDEST = 20, 10_000  # columns that a table is laid out in
SIZES: Final = {"COLUMNS": (NARROWEST, WIDEST), "LINES": (1, WIDEST)}  # what rich and typer take from the environment


class Gone(Exception):
    """Whoever read the output has closed it: there is nobody to tell."""


class Guard(io.TextIOBase):
    """A text stream that shows what it is given on the stream beneath, which is None where the process has none.

    shown: what becomes of a text; `own` is the same stream for text of the program's own, with its colours.
    """

    def __init__(self, beneath: TextIO | None, name: str, shown: Callable[[str], str] = visible) -> None:
        self._beneath, self._called, self._shown = beneath, name, shown

    @property
    def own(self) -> Guard:
        """The stream for text that is the program's own, or was made visible before."""
        return Guard(self._beneath, self._called, str)

    rich_proxied_file = own  # where rich writes its colours and bars

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream beneath."""
        return getattr(self._beneath, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How the stream beneath treats what it cannot encode; it is given nothing of the kind."""
        return getattr(self._beneath, "errors", None) or "strict"

    def writable(self) -> bool:
        """Text can be written."""
        return True

    def isatty(self) -> bool:
        """Say whether the stream beneath is a terminal."""
        return self._beneath is not None and self._beneath.isatty()

    def fileno(self) -> int:
        """Return the number of the file beneath."""
        if self._beneath is None:
            raise io.UnsupportedOperation(f"there is no {self._called}")
        return self._beneath.fileno()

    def write(self, text: str) -> int:
        """Write text as it is to be shown; return its length."""
        with self._heard():
            if self._beneath is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            shown = self._shown(text)
            try:
                self._beneath.write(shown)
            except UnicodeEncodeError:
                self._beneath.write(shown.encode(self.encoding, "backslashreplace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Bring everything to the file."""
        if self._beneath is not None:
            with self._heard():
                self._beneath.flush()

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Name the stream in the error of one that cannot be written to; raise Gone where its reader has gone."""
        try:
            yield
        except OSError as error:
            self._let_go()
            if isinstance(error, BrokenPipeError):
                raise Gone from error
            raise OSError(error.errno, error.strerror, f"<{self._called}>") from error

    def _let_go(self) -> None:
        """Send what is left in the stream nowhere: Python would fail on it again when the process ends."""
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


@contextmanager
def guarded() -> Iterator[None]:
    """Guard stdout and stderr, and hide sizes of a terminal in the environment that make no sense, until the end."""
    streams, sizes = (sys.stdout, sys.stderr), _strange_sizes()
    sys.stdout, sys.stderr = Guard(sys.stdout, "stdout"), Guard(sys.stderr, "stderr")
    for name in sizes:
        del os.environ[name]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        os.environ.update(sizes)


def _strange_sizes() -> dict[str, str]:
    """Return COLUMNS and LINES where they are no number in which anything can be laid out."""
    given = {name: os.environ[name] for name in SIZES if name in os.environ}
    return {name: text for name, text in given.items() if not _makes_sense(text, *SIZES[name])}


def _makes_sense(text: str, low: int, high: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 9 and low <= int(text) <= high
