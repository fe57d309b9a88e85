"""Work beside training: a thread of its own does it piece by piece, while a fit goes on in Python.

Compilers let other threads of Python run meanwhile, so what they take is another core's time. The thread ends with the work,
and with the process: whoever leaves waits for the piece in hand, for native code must not run while its library goes.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from bpengine_steps.adaptive import Pieces

LAST_PIECE = 5.0  # seconds that the end of a process waits for a piece, which takes 0.05


@dataclass(eq=False)
class BackgroundJob:
    """Work that was asked for: what it raised, once it is `over`."""

    pieces: Pieces
    over: bool = False
    error: BaseException | None = None
    process: int = 0

    def is_waited_for(self) -> bool:
        """Say whether it goes on: not in a process that was forked meanwhile, which has no thread for it."""
        return not self.over and self.process == os.getpid()


class Background:
    """A thread that does jobs in turn. A job's iterator does a piece each time it is asked.

    What it gives, a function or None, is called outside of `around` and of the end's wait: it may wait for other processes.
    `around` is entered for each piece.
    """

    def __init__(self, around: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._around, self._jobs = around, deque[BackgroundJob]()
        self._lock, self._working = threading.Lock(), threading.Lock()
        self._process, self._ended = 0, False

    def start(self, pieces: Pieces) -> BackgroundJob:
        """Begin with a job once those before it are over."""
        here = os.getpid()
        job = BackgroundJob(pieces, process=here)
        if self._process not in (0, here):  # forked: the thread, and whoever held a lock, stayed behind
            self._jobs, self._lock, self._working, self._process = deque(), threading.Lock(), threading.Lock(), 0
        with self._lock:
            self._jobs.append(job)
            if not self._process:
                self._process = here
                atexit.register(self.end)
                threading.Thread(target=self._run, name="bpengine compiles", daemon=True).start()
        return job

    def end(self) -> None:
        """Do no more pieces; wait for the one in hand."""
        self._ended = True
        if self._process == os.getpid():
            self._working.acquire(timeout=LAST_PIECE)  # for good: no other piece is begun

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                while not self._ended:
                    with self._working, self._around():
                        outside = next(job.pieces)
                    if outside is not None:
                        outside()
            except StopIteration:
                pass
            except BaseException as error:
                job.error = error
            job.over = True

    def _next(self) -> BackgroundJob | None:
        with self._lock:
            if self._jobs and not self._ended:
                return self._jobs.popleft()
            self._process = 0
            atexit.unregister(self.end)
            return None
