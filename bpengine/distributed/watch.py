"""The watch: a process that waits too long for others reports it and ends the job; a heartbeat file shows progress."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from bpengine.errors import ConfigError

TIMEOUT: Final = "BPENGINE_TIMEOUT"  # seconds that a process waits for others in one exchange
HEARTBEAT: Final = "BPENGINE_HEARTBEAT"  # a file whose modification time, and an exit code, the launcher reads
SECONDS: Final = 600.0
STUCK: Final = 124  # exit code
BEAT: Final = 0.2  # seconds between two beats, at least
RESTING: Final = (0, 0)  # the modification time of a heartbeat file while no steps are taken
GRACE: Final = 0.5  # seconds, besides two checks, within which the other processes report that they waited, too


def limit() -> float:
    """Return the seconds that a process waits for others; raise ConfigError for a variable that is no such number."""
    text = os.environ.get(TIMEOUT, "").strip()
    try:
        seconds = float(text) if text else SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(
            f"{TIMEOUT} requires a number of seconds above 0, got {text!r}. Leave it out for {SECONDS:g}."
        )
    return seconds


def record_exit_code(code: int) -> None:
    """Record for the launcher the exit code with which this process ends the job.

    mpiexec kills the other processes then, and its own exit code may be that of a killed one.
    """
    beats = os.environ.get(HEARTBEAT)
    if beats:
        with contextlib.suppress(OSError), open(beats, "a", encoding="ascii") as file:
            file.write(f"{code}\n")


def recorded_exit_code(beats: str) -> int | None:
    """Return the exit code that the first process to end the job has recorded in a heartbeat file, or None."""
    with open(beats, encoding="ascii") as file:
        first = file.readline()
    return int(first) if first else None


class Watch:
    """Ends the job when a call that needs all processes takes longer than `limit` seconds, since one of them must be stuck.

    who: "process 1 of 4", for the message. abort(code): ends the job.
    """

    def __init__(self, who: str, seconds: float, abort: Callable[[int], object], beats: str | None) -> None:
        self._who, self._seconds, self._abort, self._beats = who, seconds, abort, beats
        self._since, self._beaten, self._ended, self.calls = 0.0, 0.0, time.monotonic(), 0
        threading.Thread(target=self._look, daemon=True, name="bpengine-watch").start()

    def begin(self) -> None:
        """Record that a call begins."""
        self.calls += 1
        self._since = time.monotonic()

    def end(self) -> None:
        """Record that the call has ended."""
        began, self._since, self._ended = self._since, 0.0, time.monotonic()
        if self._beats and began - self._beaten > BEAT:
            self._beaten = began
            with contextlib.suppress(OSError):
                os.utime(self._beats)

    @property
    def apart(self) -> float:
        """The seconds since the last exchange of all processes: about the most that they may differ in time."""
        return time.monotonic() - self._ended

    def rest(self) -> None:
        """Record that no steps follow."""
        if self._beats:
            with contextlib.suppress(OSError):
                os.utime(self._beats, RESTING)

    def _look(self) -> None:
        pause = min(1.0, self._seconds / 4)  # the others check equally often, but not at the same moments
        while True:
            time.sleep(pause)
            since = self._since
            if since and time.monotonic() - since > self._seconds:
                text = (
                    f"bpengine: {self._who} waited {self._seconds:g} s for another one in exchange {self.calls}. A process "
                    "that does not say so is stuck. The job ends.\n"
                )
                sys.stderr.write(text)
                sys.stderr.flush()
                time.sleep(2 * pause + GRACE)
                self._abort(STUCK)
