"""Progress: updates the views while a fit runs, also within epochs; without a view it costs nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

from bpengine.training.history import Epoch
from bpengine.training.progress.views import ProgressView, Standing, chosen_views

FIRST: Final = 64  # steps of the first run, whose speed is not known
GROWTH: Final = 4  # a run may be so many times as long as the one before
SLICE: Final = 0.5  # about the seconds of a run of steps, so that a bar moves
# moments that a rate is taken over: enough to average out one slow step, few enough to follow a change
REMEMBERED: Final = 32


class Progress:
    """Shows epochs, loss, validation scores, rate and time left while a fit runs, on a terminal, in a notebook, in a log.

    show: whether a bar was asked for. views: where it is shown; by default a bar where
    there is a terminal or a notebook, and lines in the log "bpengine.training" where the program logs at level INFO.
    fits: whether it is fits that are counted, in place of steps.
    """

    def __init__(
        self, *, show: bool, log: bool = True, views: Sequence[ProgressView] | None = None, fits: bool = False
    ) -> None:
        chosen = views if views is not None else chosen_views(show=show) if log else []
        self._views, self._next = list(chosen), [0.0] * len(chosen)
        self._epochs: int | None = None
        self._fits = fits
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
            self._show(steps, epoch.number, epoch.loss, mean=not self._fits)

    def _show(self, steps: int, epoch: int, loss: float, *, mean: bool = False) -> None:
        total = self._total
        self._last = Standing(
            steps, total, epoch=epoch, epochs=self._epochs, loss=loss, scores=self._scores, rate=self._pace.rate(),
            left=self._pace.left(total), fits=self._fits, mean=mean,
        )  # fmt: skip
        now = time.perf_counter()
        for number, view in enumerate(self._views):
            if now >= self._next[number]:
                view.show(self._last)
                self._next[number] = now + view.every


class Pace:
    """The speed of a fit: the last `REMEMBERED` moments, with the steps and rows done by then."""

    def __init__(self) -> None:
        self._moments: deque[tuple[float, int, int]] = deque(maxlen=REMEMBERED)
        self._rows = 0

    def add(self, now: float, steps: int, rows: int) -> None:
        """Record that by `now` so many steps are done, and `rows` more rows."""
        self._rows += rows
        self._moments.append((now, steps, self._rows))

    def rate(self) -> float | None:
        """Return the rows per second; None before two moments."""
        return self._per_second(2)

    def left(self, total: int | None) -> float | None:
        """Return the seconds until `total` steps are done; None where it is not known."""
        speed = self._per_second(1)
        if total is None or not speed:
            return None
        return max(0, total - self._moments[-1][1]) / speed

    def _per_second(self, column: int) -> float | None:
        if len(self._moments) < 2:
            return None
        first, last = self._moments[0], self._moments[-1]
        seconds = last[0] - first[0]
        return (last[column] - first[column]) / seconds if seconds > 0 else None


def numbers_of(epoch: Epoch) -> dict[str, float]:
    """Return the validation scores of an epoch that are single numbers."""
    scores: dict[str, Any] = epoch.validation or {}
    return {name: value for name, value in scores.items() if isinstance(value, float)}
