"""The past: the state before any recent step, exactly, without a second copy of a large state in memory."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from typing import IO, Any, NamedTuple

import numpy as np

from bpengine.backend import Backend, State

SMALL = 2**20  # bytes of state that may be held twice more
SHARE = 0.01  # the part of the time that goes at most into writing large states to disk


class _Kept(NamedTuple):
    """A state that was kept: the step it comes before, and how it is had again, each time as arrays of its own."""

    step: int
    load: Callable[[], State]


class Past:
    """Keeps states from time to time, and runs the steps since again: a step is a pure function of state and rows.

    A small state is kept before every segment, in memory. A large one goes to a temporary file without a name, which
    vanishes at the end of the `with` block or with the process, and only so often that it takes `SHARE` of the time; to
    memory where files cannot be written. `start` makes the first state anew; replay(state, a, b) runs the steps from a to b.
    """

    def __init__(
        self, backend: Backend, start: Callable[[], State], replay: Callable[[State, int, int], State]
    ) -> None:
        self._backend, self._replay = backend, replay
        self._kept: deque[_Kept] = deque([_Kept(0, start)], maxlen=2)
        self._due, self._on_disk = time.perf_counter() + 1.0, True
        self._open, self._files = ExitStack(), deque[IO[bytes]]()

    def __enter__(self) -> Past:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def note(self, step: int, state: State) -> None:
        """Keep the state before `step`, if it is time to."""
        large = _size(state) * np.dtype(self._backend.dtype).itemsize > SMALL
        began = time.perf_counter()
        if step == self._kept[-1].step or (large and began < self._due):
            return
        self._kept.append(_Kept(step, self._store(state) if large else self._copy(state)))
        done = time.perf_counter()
        self._due = done + (done - began) / SHARE

    def last(self) -> tuple[int, State]:
        """Return the newest step whose state was kept, and that state."""
        return self._kept[-1].step, self._kept[-1].load()

    def state_before(self, step: int) -> State:
        """Return the state before a step that came after the last state but one that was kept."""
        kept = next(kept for kept in reversed(self._kept) if kept.step <= step)
        return self._replay(kept.load(), kept.step, step)

    def _copy(self, state: State) -> Callable[[], State]:
        held = self._backend.copy(state)
        return lambda: self._backend.copy(held)

    def _store(self, state: State) -> Callable[[], State]:
        if self._on_disk:
            try:
                return self._write(state)
            except OSError:  # a full disk, or none
                self._on_disk = False
        return self._copy(state)

    def _write(self, state: State) -> Callable[[], State]:
        file = self._next_file()
        form = _mapped(lambda leaf: np.save(file, self._backend.to_numpy(leaf), allow_pickle=False), state)

        def load() -> State:
            file.seek(0)
            state: State = _mapped(lambda _: self._backend.asarray(np.load(file, allow_pickle=False)), form)
            return state

        return load

    def _next_file(self) -> IO[bytes]:
        """Return an empty file, or the one that holds the older state: the newer one is whole, whatever happens."""
        if len(self._files) < 2:
            self._files.append(self._new_file())
        else:
            self._files.rotate()
        self._files[-1].seek(0)
        return self._files[-1]

    def _new_file(self) -> IO[bytes]:
        return self._open.enter_context(tempfile.TemporaryFile(prefix="bpengine-", buffering=0))


def _mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return a tree of the same form with the results for its leaves."""
    if isinstance(tree, dict):
        return {key: _mapped(function, value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_mapped(function, value) for value in tree]
    return function(tree)


def _size(tree: Any) -> int:
    """Return the number of elements of all leaves."""
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else None
    return prod(tree.shape) if branches is None else sum(map(_size, branches))
