"""A progress bar that is quiet when the output is no terminal."""

from __future__ import annotations

import sys
from types import TracebackType

from bpengine.training.history import Epoch


class Progress:
    """Shows epochs, loss and validation scores while a fit runs; with `show=False` or no terminal it shows nothing."""

    def __init__(self, total: int, *, show: bool) -> None:
        self._bar = None
        if show and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = RichProgress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, epoch: Epoch) -> None:
        """Show that `done` of the total are done, with the numbers of the last epoch."""
        if self._bar:
            numbers = {n: v for n, v in (epoch.validation or {}).items() if isinstance(v, float)}
            scores = "".join(f"  {name} {value:.4f}" for name, value in numbers.items())
            self._bar.update(
                self._task, completed=done, description=f"loss {epoch.loss:.4g}{scores and '  validation:' + scores}"
            )
