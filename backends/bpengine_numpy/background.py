"""Work beside training: a background thread does it piece by piece, while a fit continues in Python.

Compilers release the GIL, so they use the time of another core. The thread ends with the work or with the process: on exit
the process waits for the piece that is running, since native code must not run while its library is unloaded.
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
    """A requested job; `error` is the exception that it raised, once it is `over`."""

    pieces: Pieces
    over: bool = False
    error: BaseException | None = None
    process: int = 0

    def is_waited_for(self) -> bool:
        """Tell whether the job is still running: not in a forked process, which does not have the thread."""
        return not self.over and self.process == os.getpid()


class Background:
    """A thread that does jobs one after the other. Each step of a job's iterator does one piece.

    `around` is entered for each piece. A function that the iterator yields is called outside of `around`, and the end of the
    process does not wait for it: it may wait for other processes.
    """

    def __init__(self, around: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._around, self._jobs = around, deque[BackgroundJob]()
        self._lock, self._working = threading.Lock(), threading.Lock()
        self._process, self._ended = 0, False

    def start(self, pieces: Pieces) -> BackgroundJob:
        """Queue a job, which begins when earlier jobs are over."""
        here = os.getpid()
        job = BackgroundJob(pieces, process=here)
        if self._process not in (0, here):  # forked: the thread, and the holders of locks, do not exist in this process
            self._jobs, self._lock, self._working, self._process = deque(), threading.Lock(), threading.Lock(), 0
        with self._lock:
            self._jobs.append(job)
            if not self._process:
                self._process = here
                atexit.register(self.end)
                threading.Thread(target=self._run, name="bpengine compiles", daemon=True).start()
        return job

    def end(self) -> None:
        """Begin no further piece; wait for the running one."""
        self._ended = True
        if self._process == os.getpid():
            self._working.acquire(timeout=LAST_PIECE)  # never released: no other piece may begin

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
