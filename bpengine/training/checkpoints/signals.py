"""Signals that ask a process to end: recorded while a fit with checkpoints runs, and obeyed after the step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # Ctrl-C, and what batch systems send; SIGUSR1 is not on every system


class Asked:
    """Whether the process was asked to end, and by which signal."""

    def __init__(self) -> None:
        self.number = 0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Record the first signal while the block runs, in place of its usual effect; a second one has its usual effect.

        Nothing is recorded outside the main thread, where Python allows no handlers, and for a signal that is ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        noted = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

        def note(number: int, frame: FrameType | None) -> None:
            self.number = number
            signal.signal(number, noted[number])

        for number in noted:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in noted.items():
                signal.signal(number, handler)


def name_of(number: int) -> str:
    """Return the name of a signal: "SIGTERM"."""
    known: Any = signal.Signals
    return str(known(number).name)
