"""Where a running fit is: steps and epochs done, the last loss and scores, rows per second, the time left."""

from __future__ import annotations

from collections import deque
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

from bpengine.training.history import Epoch

REMEMBERED: Final = (
    32  # moments that a rate is taken over: enough to average out one slow step, few enough to follow a change
)


@dataclass(frozen=True)
class Standing:
    """steps of `total` are done, and epochs of `epochs`; totals are None where the fit has no such limit.

    loss: of the last step or epoch. scores: the validation scores of the last epoch. rate: rows per second, and left: seconds
    to the end; None while they are not known.
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

    def words(self) -> str:
        """Return the progress as a line.

        >>> Standing(120, 200, epoch=3, epochs=5, loss=0.25, scores={"accuracy": 0.9}, rate=51234.0, left=75.0).words()
        'epoch 3 of 5, step 120 of 200, loss 0.25, validation: accuracy 0.9000, 51,234 rows/s, 1:15 left'
        """
        parts = [
            f"epoch {self.epoch:,}{_of(self.epochs)}, step {self.steps:,}{_of(self.total)}",
            f"loss {self.loss:.4g}",
        ]
        parts += [f"validation: {', '.join(f'{n} {v:.4f}' for n, v in self.scores.items())}"] if self.scores else []
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
