"""Busy cores: whether other processes occupy this machine's cores, which slows matrix products in several threads.

The threads of one product wait for each other. If a core is busy with other work, one thread waits for that core and the
others wait for this thread: two threads may then take several times as long as one.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bpengine.i18n.language import localized
from bpengine.system.blas_pool import BLAS_POOL

TASKS = Path("/proc/self/task")
WINDOW = 3.0  # seconds of one measurement
SHARE = 0.25  # waiting time relative to running time; on an idle machine it is below a hundredth
BUSY = 0.5  # runnable threads for each core, as the average of the last minute
CURE = "Cure: OPENBLAS_NUM_THREADS=1 in the environment, or bp.get_backend('numpy', threads=1)."


class CoreUse(NamedTuple):
    """Seconds during which the threads of this process ran on a core, and waited for one."""

    ran: float
    waited: float


def core_use(tasks: Path = TASKS) -> CoreUse | None:
    """Return the seconds of this process's threads; None where the system does not report them, as outside of Linux."""
    ran = waited = 0
    try:
        for task in tasks.iterdir():
            fields = (task / "schedstat").read_text().split()
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
    except (OSError, ValueError, IndexError):  # no such file, or a thread that has just ended
        return None
    return CoreUse(ran / 1e9, waited / 1e9)


def load() -> float | None:
    """Return the runnable threads of the whole machine for each of its cores, over the last minute; None if unknown."""
    if not hasattr(os, "getloadavg"):
        return None
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return None


def load_warning(threads: int | None) -> str | None:
    """Return a warning where the machine is busy and products use several threads, else None."""
    runnable = load()
    if runnable is None or runnable <= BUSY or (threads or 1) < 2:
        return None
    return (
        f"the cores had other work in the last minute ({runnable:.1f} runnable threads for each core): matrix products in "
        f"{threads} threads then wait for each other, and training steps may take several times as long. {CURE}"
    )


class BusyWatch:
    """Warns once in a process that training waits for cores, where products use several threads."""

    def __init__(
        self,
        use: Callable[[], CoreUse | None] = core_use,
        clock: Callable[[], float] = time.perf_counter,
        threads: Callable[[], int] = lambda: BLAS_POOL.threads,
    ) -> None:
        self._use, self._clock, self._threads = use, clock, threads
        self._over = False
        self._began = float("-inf")
        self._before: CoreUse | None = None

    def rest(self) -> None:
        """Stop measuring."""
        self._over = True

    def look(self) -> None:
        """Measure how long the threads have waited, every few seconds; called after each run of steps."""
        now = self._clock()
        if self._over or now - self._began < WINDOW:
            return
        seconds, before = now - self._began, self._before
        self._began, self._before = now, self._use()
        if before is None or self._before is None or seconds > 2 * WINDOW:  # no training in between
            return
        ran, waited = self._before.ran - before.ran, self._before.waited - before.waited
        if waited > SHARE * max(ran, WINDOW) and (threads := self._threads()) > 1:
            self.rest()
            text = (
                f"the cores of this machine have other work: in {seconds:.0f} s the threads of this process ran for "
                f"{ran:.1f} s and waited for a core for {waited:.1f} s. Matrix products in {threads} threads wait for each "
                f"other. {CURE}"
            )
            warnings.warn(localized(text), stacklevel=2)


BUSY_WATCH = BusyWatch()
