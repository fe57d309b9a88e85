"""Progress: updates the views while a fit runs, also within epochs; without a view it costs nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from bpengine.training.history import Epoch
from bpengine.training.progress.standing import Pace, Standing, numbers_of
from bpengine.training.progress.views import ProgressView, chosen_views

FIRST: Final = 64  # steps of the first run, whose speed is not known
GROWTH: Final = 4  # a run may be so many times as long as the one before
SLICE: Final = 0.5  # about the seconds of a run of steps, so that a bar moves


class Progress:
    """Shows epochs, loss, validation scores, rate and time left while a fit runs, on a terminal, in a notebook, in a log.

    show: whether a bar was asked for. views: where it is shown; by default a bar where
    there is a terminal or a notebook, and lines in the log "bpengine.training" where the program logs at level INFO.
    """

    def __init__(self, *, show: bool, log: bool = True, views: Sequence[ProgressView] | None = None) -> None:
        chosen = views if views is not None else chosen_views(show=show) if log else []
        self._views, self._next = list(chosen), [0.0] * len(chosen)
        self._epochs: int | None = None
        self._total: int | None = None
        self._pace, self._longest, self._in_time = Pace(), FIRST, FIRST
        self._epoch, self._scores = 0, dict[str, float]()
        self._last: Standing | None = None

    def __enter__(self) -> Progress:
        for view in self._views:
            view.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for view in self._views:
            view.stop(self._last)

    @property
    def watched(self) -> bool:
        """Whether there is a view."""
        return bool(self._views)

    def begin(
        self, steps: int, epochs: int, *, last_epoch: int | None, last_step: int | None, epoch_steps: int
    ) -> None:
        """Record the steps and epochs done before the fit, and its limits, None for no limit."""
        self._epoch, self._epochs = epochs, last_epoch
        limits = [last_step, None if last_epoch is None else last_epoch * epoch_steps]
        self._total = min((limit for limit in limits if limit is not None), default=None)
        if self.watched:
            now = time.perf_counter()
            self._pace.add(now, steps, 0)
            self._next = [now + view.every for view in self._views]

    def most_steps(self) -> int:
        """Return how many steps may be run before the next update."""
        return max(1, min(self._in_time, self._longest))

    def took(self, steps: int, seconds: float) -> None:
        """Record how long a run of steps took, which determines the length of the next one."""
        self._longest = max(FIRST, GROWTH * steps)
        self._in_time = int(SLICE * steps / seconds) if seconds > 0 else self._longest

    def stepped(self, steps: int, rows: int, loss: float) -> None:
        """Show that so many steps are done by now, the last of them with this loss, and `rows` more rows seen."""
        if self.watched:
            self._pace.add(time.perf_counter(), steps, rows)
            self._show(steps, min(self._epoch + 1, self._epochs or self._epoch + 1), loss)

    def update(self, steps: int, epoch: Epoch) -> None:
        """Show that an epoch is over, with its numbers."""
        self._epoch, self._scores = epoch.number, numbers_of(epoch)
        if self.watched:
            self._show(steps, epoch.number, epoch.loss)

    def _show(self, steps: int, epoch: int, loss: float) -> None:
        total = self._total
        self._last = Standing(
            steps, total, epoch=epoch, epochs=self._epochs, loss=loss, scores=self._scores, rate=self._pace.rate(),
            left=self._pace.left(total),
        )  # fmt: skip
        now = time.perf_counter()
        for number, view in enumerate(self._views):
            if now >= self._next[number]:
                view.show(self._last)
                self._next[number] = now + view.every
