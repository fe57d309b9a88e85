"""Long work beside training, such as reading a large table: lines in the log "bpengine.work", or a bar on a terminal.

Each piece is a record at level DEBUG, one every ten seconds at level INFO; work that is over before the first is due leaves no
line. A record has the attributes `share`, None where it is not known, and `ended`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from bpengine.i18n.language import localized

LOGGER: Final = logging.getLogger("bpengine.work")
FIRST, EVERY = 3.0, 10.0  # seconds until the first line, and between two
Piece = TypeVar("Piece")


def watched(
    doing: str, pieces: Iterable[Piece], share: Callable[[], float | None], rows: Callable[[Any], int] = len
) -> Iterator[Piece]:
    """Yield the pieces of a table, and log how many rows they have so far, which share of the work is done, and the time.

    doing: what is done, "reading people.csv". share: returns the share that is done, None where it is not known.
    """
    began = time.perf_counter()
    due, done, said = began + FIRST, 0, False
    try:
        for piece in pieces:
            done += rows(piece)
            now, part, level = time.perf_counter(), share(), logging.DEBUG
            if now >= due:
                said, due, level = True, now + EVERY, logging.INFO
            line = f"{doing}: {done:,} rows{_percent(part)} after {now - began:.0f} s"
            _log(level, line, part, ended=False)
            yield piece
    finally:
        line = f"{doing}: {done:,} rows, ended after {time.perf_counter() - began:.0f} s"
        _log(logging.INFO if said else logging.DEBUG, line, None, ended=True)


def _percent(share: float | None) -> str:
    return "" if share is None else f", {min(1.0, share):.0%}"


def _log(level: int, line: str, share: float | None, *, ended: bool) -> None:
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, "%s", localized(line), extra={"share": share, "ended": ended})


@contextmanager
def terminal_bar() -> Iterator[None]:
    """Show long work within the block as a bar on stderr, which is removed when the work ends."""
    handler, before, lines = _BarHandler(), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)
        LOGGER.propagate = lines
        handler.end()


class _BarHandler(logging.Handler):
    """Draws the records of long work as a bar."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._bar: Any = None
        self._task: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        """Update the bar; begin one with the first record, end it with the last."""
        if record.__dict__["ended"]:
            self.end()
            return
        if self._bar is None:
            self._begin()
        self._bar.update(self._task, completed=record.__dict__["share"] or 0.0, description=record.getMessage())

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (BarColumn(), TextColumn("{task.description}", markup=False))
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=1.0)
        self._bar.start()

    def end(self) -> None:
        """Remove the bar, if there is one."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None
