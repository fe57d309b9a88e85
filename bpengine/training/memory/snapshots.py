"""The past: the state before any recent step, exactly, without a second copy of a large state in memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from bpengine.backend import Backend, State
from bpengine.training.memory.spill import Shelf

SHARE = 0.01  # the part of the time that goes at most into keeping states


class _Kept(NamedTuple):
    """A state that was kept: the step it comes before, and how it is had again, each time as arrays of its own."""

    step: int
    load: Callable[[], State]


class Past:
    """Keeps states from time to time, and runs the steps since again: a step is a pure function of state and rows.

    States are kept on a shelf, in a `with` block, and only so often that it takes `SHARE` of the time. `start` makes the
    first state anew; replay(state, a, b) runs the steps from a to b.
    """

    def __init__(
        self, backend: Backend, start: Callable[[], State], replay: Callable[[State, int, int], State]
    ) -> None:
        self._replay, self._shelf = replay, Shelf(backend)
        self._kept: deque[_Kept] = deque([_Kept(0, start)], maxlen=2)
        self._due, self._place = time.perf_counter() + 1.0, "even"

    def __enter__(self) -> Past:
        return self

    def __exit__(self, *_: object) -> None:
        self._shelf.__exit__()

    @property
    def first(self) -> int:
        """The first step whose state can be had again."""
        return self._kept[0].step

    def note(self, step: int, state: State, check: Callable[[], None] = lambda: None) -> None:
        """Keep the state before `step`, if it is time to; `check` first refuses one that is not worth going back to."""
        began = time.perf_counter()
        if step == self._kept[-1].step or began < self._due:
            return
        check()
        self.keep(step, state)
        done = time.perf_counter()
        self._due = done + (done - began) / SHARE

    def keep(self, step: int, state: State) -> None:
        """Keep the state before `step`, whatever the time is."""
        self._place = "odd" if self._place == "even" else "even"  # the newer one stays whole, whatever happens
        self._kept.append(_Kept(step, self._shelf.keep(state, self._place)))

    def last(self, step: int) -> tuple[int, State]:
        """Return the newest step, up to `step`, whose state was kept, and that state."""
        kept = self._before(step)
        return kept.step, kept.load()

    def state_before(self, step: int) -> State:
        """Return the state before a step that came after the last state but one that was kept."""
        kept = self._before(step)
        return self._replay(kept.load(), kept.step, step)

    def _before(self, step: int) -> _Kept:
        return next(kept for kept in reversed(self._kept) if kept.step <= step)
