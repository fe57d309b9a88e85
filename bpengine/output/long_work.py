"""Long work beside training, such as reading a large table: lines in the log "bpengine.work", or a bar on a terminal.

Each piece is a record at level DEBUG, one every ten seconds at level INFO; work that is over before the first is due leaves no
line. A record has the attributes `share`, None where it is not known, and `ended`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bpengine.i18n.language import localized

if TYPE_CHECKING:
    from bpengine.output.progress_bar import ProgressBar

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
        self._bar: ProgressBar | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Update the bar; begin one with the first record, end it with the last."""
        if record.__dict__["ended"]:
            self.end()
            return
        bar = self._bar = self._bar or _started()
        bar.update(record.__dict__["share"] or 0.0, 1.0, record.getMessage())

    def end(self) -> None:
        """Remove the bar, if there is one."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


def _started() -> ProgressBar:
    from rich.progress import BarColumn, TextColumn  # not at the top: needed only on a terminal

    from bpengine.output.progress_bar import ProgressBar

    bar = ProgressBar(BarColumn(), TextColumn("{task.description}", markup=False))
    bar.start()
    return bar
