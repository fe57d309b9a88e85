"""A progress bar on stderr, by rich, also where stderr escapes what is written to it, as the command line's does.

While the bar is shown, other text is written above it. rich's own way would send the bar itself through the stream that
escapes, so that its colours would be seen as text, and would send what a program writes to a file by stdout to the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO, cast

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import Progress, ProgressColumn

from bpengine.output.visible import visible


class ProgressBar:
    """A bar that is removed at the end; where stderr is no terminal, nothing is shown."""

    def __init__(self, *columns: ProgressColumn) -> None:
        # a stream that escapes text has the one below it under this name, for programs that write their own colours
        self._console = Console(file=getattr(sys.stderr, "rich_proxied_file", sys.stderr))
        self._bar = Progress(
            *columns,
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._streams: tuple[TextIO, TextIO] | None = None

    def start(self) -> None:
        """Draw the bar."""
        if self._streams is None and self._console.is_terminal:
            self._streams = sys.stdout, sys.stderr
            sys.stdout, sys.stderr = map(self._above, self._streams)
        self._bar.start()

    def update(self, completed: float, total: float | None, description: str) -> None:
        """Show how much of the total is done, and a description, whose control characters are escaped."""
        self._bar.update(self._task, completed=completed, total=total, description=visible(description))

    def stop(self) -> None:
        """Remove the bar."""
        try:
            self._bar.stop()
        finally:
            if self._streams is not None:
                (sys.stdout, sys.stderr), self._streams = self._streams, None

    def _above(self, stream: TextIO) -> TextIO:
        """Return a stream whose text appears above the bar; one that is no terminal stays as it is."""
        if not stream.isatty():
            return stream
        return cast("TextIO", _Above(self._console, stream))


class _Above(FileProxy):
    """Writes lines above a bar, escaped where the stream below escapes them."""

    def __init__(self, console: Console, stream: TextIO) -> None:
        super().__init__(console, stream)
        self._shown: Callable[[str], str] = getattr(stream, "shown", str)

    def write(self, text: str) -> int:
        return super().write(self._shown(text))
