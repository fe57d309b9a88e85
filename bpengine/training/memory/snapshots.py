"""Snapshots: restore the state before a recent step by replaying from a saved one. Rollback: restore a failed fit's model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from bpengine.backend import Backend, State
from bpengine.training.memory.spill import SpillStore, StoredTree

SHARE = 0.01  # the largest share of the time that is spent on saving states


class _Snapshot(NamedTuple):
    """A saved state: the step it comes before, and a function that loads a fresh copy of it."""

    step: int
    load: Callable[[], State]


class Snapshots:
    """Saves states from time to time and replays the steps since: a step is a pure function of state and rows.

    To be used in a `with` block. Saving takes at most `SHARE` of the time. first: a step and a function that makes the state
    before it, anew each time; replay(state, a, b) runs the steps from a to b. lead(due) makes one decision for all processes
    that train together: their clocks differ, but they must replay the same steps.
    """

    def __init__(
        self,
        backend: Backend,
        first: tuple[int, Callable[[], State]],
        replay: Callable[[State, int, int], State],
        lead: Callable[[bool], bool] = bool,
    ) -> None:
        self._backend, self._replay, self._store, self._lead = backend, replay, SpillStore(backend), lead
        self._saved: deque[_Snapshot] = deque([_Snapshot(*first)], maxlen=2)
        self._due, self._place = time.perf_counter() + 1.0, "even"

    def __enter__(self) -> Snapshots:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.__exit__()

    @property
    def first(self) -> int:
        """The first step whose state can be restored."""
        return self._saved[0].step

    def go_back(self, step: int, state: State) -> None:
        """Take an earlier state as the first one that can be restored."""
        held = self._backend.copy(state)
        self._saved = deque([_Snapshot(step, lambda: self._backend.copy(held)), self._saved[0]], maxlen=2)

    def note(self, step: int, state: State, is_sound: Callable[[], bool] = lambda: True) -> None:
        """Save the state before `step` if the next snapshot is due and is_sound() says that its numbers are finite.

        A state that is not finite raises no error here: when a snapshot is due depends on the clock, and the errors of a fit
        must not.
        """
        began = time.perf_counter()
        if not self._lead(step != self._saved[-1].step and began >= self._due):
            return
        if not is_sound():
            return
        self.keep(step, state)
        done = time.perf_counter()
        # The next snapshot is due after the time just spent, divided by the share: so large states and slow disks get fewer
        # of them.
        self._due = done + (done - began) / SHARE

    def keep(self, step: int, state: State) -> None:
        """Save the state before `step`, due or not."""
        self._place = "odd" if self._place == "even" else "even"  # the newer one stays valid if this is interrupted
        self._saved.append(_Snapshot(step, self._store.keep(state, self._place)))

    def last(self, step: int) -> tuple[int, State]:
        """Return the newest saved step up to `step`, and its state."""
        saved = self._before(step)
        return saved.step, saved.load()

    def state_before(self, step: int) -> State:
        """Return the state before a step; it must not come before the older of the two snapshots."""
        # A step is a pure function of state and rows, so replaying gives the same bits as the steps had.
        saved = self._before(step)
        return self._replay(saved.load(), saved.step, step)

    def _before(self, step: int) -> _Snapshot:
        return next(saved for saved in reversed(self._saved) if saved.step <= step)


class Rollback:
    """A model's arrays, handed to a fit and restored if it fails.

    Small arrays are copied. Large ones are spilled to `store`, and the fit gets the arrays themselves, without a second copy.
    moved: whether the owner must drop its arrays, because the fit has them.
    """

    def __init__(self, backend: Backend, store: SpillStore, own: State) -> None:
        self._own = own
        self.moved = store.is_large(own)
        self._restore: StoredTree | Callable[[], State] = (
            store.keep(own, "lent") if self.moved else lambda: backend.copy(own)
        )

    def returned(self) -> State:
        """Return the original arrays to their owner, for the last time; this needs little memory."""
        return self._restore.for_good() if isinstance(self._restore, StoredTree) and not self._own else self.arrays()

    def arrays(self) -> State:
        """Return the original arrays, for a fit that may write into them."""
        if not self.moved or not self._own:
            return self._restore()
        own, self._own = self._own, {}
        return own
