"""What is shown of a running fit, and where: a bar on a terminal, a bar in a notebook, lines in a log.

A notebook's bar is HTML that is shown once and then replaced (`display_id`), which Jupyter, VS Code and Colab all do without
widgets; rich and tqdm need ipywidgets there.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import KW_ONLY, dataclass
from importlib import import_module
from typing import Any, Final, Protocol

from bpengine.i18n.language import column_head, localized
from bpengine.output.rich_form import block, escaped

LOGGER: Final = logging.getLogger("bpengine.training")
logging.getLogger("bpengine").addHandler(logging.NullHandler())  # silent, unless the program configures a handler


@dataclass(frozen=True)
class Standing:
    """steps of `total` are done, and epochs of `epochs`; totals are None where the fit has no such limit.

    loss: of the last step's batch; with `mean`, the mean over the rows of the epoch that is over. scores: the validation
    scores of the last epoch. rate: rows per second, and left: seconds to the end; None while they are not known. fits: whether
    it is fits that are counted, each of which is over.
    """

    steps: int
    total: int | None
    _: KW_ONLY
    epoch: int
    epochs: int | None
    loss: float
    scores: dict[str, float]
    rate: float | None = None
    left: float | None = None
    fits: bool = False
    mean: bool = False

    def words(self) -> str:
        """Return the progress as a line.

        >>> Standing(120, 200, epoch=3, epochs=5, loss=0.25, scores={"accuracy": 0.9}, rate=51234.0, left=75.0).words()
        'epoch 3 of 5, step 120 of 200, loss 0.25, validation: accuracy 0.9000, 51,234 rows/s, 1:15 left'
        >>> Standing(2, 3, epoch=10, epochs=None, loss=0.25, scores={}, fits=True).words()
        'fit 2 of 3, loss 0.25'
        >>> Standing(40, 200, epoch=1, epochs=5, loss=0.5, scores={}, mean=True).words()
        'epoch 1 of 5, step 40 of 200, mean loss 0.5'
        """
        done = f"epoch {self.epoch:,}{_of(self.epochs)}, step {self.steps:,}{_of(self.total)}"
        loss = f"mean loss {self.loss:.4g}" if self.mean else f"loss {self.loss:.4g}"
        parts = [f"fit {self.steps:,}{_of(self.total)}" if self.fits else done, loss]
        scores = ", ".join(f"{column_head(name)} {score:.4f}" for name, score in self.scores.items())
        parts += [f"validation: {scores}"] if scores else []
        parts += [f"{self.rate:,.0f} rows/s"] if self.rate is not None else []
        parts += [f"{clock(self.left)} left"] if self.left is not None and self.steps != self.total else []
        return ", ".join(parts)


def _of(total: int | None) -> str:
    return "" if total is None else f" of {total:,}"


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss.

    >>> clock(75.4), clock(3675.0)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressView(Protocol):
    """A view of a fit's progress. every: seconds between two updates."""

    every: float

    def start(self) -> None:
        """Begin."""

    def show(self, standing: Standing) -> None:
        """Show the progress now."""

    def stop(self, standing: Standing | None) -> None:
        """End with the last progress, None where no step was done."""


class TerminalBar:
    """A bar that is removed at the end."""

    every = 0.1

    def __init__(self) -> None:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn

        from bpengine.output.progress_bar import ProgressBar

        columns = (
            TextColumn(localized("training")),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._bar = ProgressBar(*columns)

    def start(self) -> None:
        """Draw the bar."""
        self._bar.start()

    def show(self, standing: Standing) -> None:
        """Update the bar."""
        self._bar.update(standing.steps, standing.total, localized(standing.words()))

    def stop(self, standing: Standing | None) -> None:
        """Remove the bar."""
        self._bar.stop()


class NotebookBar:
    """A bar in the output of a cell, whose last state stays."""

    every = 0.25

    def __init__(self) -> None:
        self._display: Any = import_module("IPython.display")
        self._handle: Any = None

    def start(self) -> None:
        """Do nothing yet: there is no step to show."""

    def show(self, standing: Standing) -> None:
        """Replace the last bar."""
        shown = self._display.HTML(bar_html(standing))
        if self._handle is None:
            self._handle = self._display.display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def stop(self, standing: Standing | None) -> None:
        """Show the last state."""
        if standing is not None:
            self.show(standing)


class LogLines:
    """Lines at level INFO of the logger "bpengine.training", none for a fit that is over before the first is due."""

    every = 10.0

    def __init__(self) -> None:
        self._logged = False

    def start(self) -> None:
        """Do nothing: short fits are not logged."""

    def show(self, standing: Standing) -> None:
        """Log a line."""
        self._logged = True
        LOGGER.info("%s", localized(standing.words()))

    def stop(self, standing: Standing | None) -> None:
        """Log the last progress, if anything was logged before."""
        if self._logged and standing is not None:
            LOGGER.info("%s", localized(f"ended: {standing.words()}"))


def bar_html(standing: Standing) -> str:
    """Return a bar as HTML."""
    total = "" if standing.total is None else f' max="{standing.total}" value="{min(standing.steps, standing.total)}"'
    bar = f'<progress{total} style="width:16em;vertical-align:middle"></progress>'
    return block(f"<p>{localized('training')} {bar} {escaped(localized(standing.words()))}</p>")


def in_notebook() -> bool:
    """Say whether this runs in the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def chosen_views(*, show: bool) -> list[ProgressView]:
    """Return the views of a fit. show: whether a bar was asked for; a log is written where the program logs INFO."""
    views: list[ProgressView] = [LogLines()] if LOGGER.isEnabledFor(logging.INFO) else []
    if show and in_notebook():
        views.append(NotebookBar())
    elif show and sys.stderr.isatty():
        views.append(TerminalBar())
    return views
