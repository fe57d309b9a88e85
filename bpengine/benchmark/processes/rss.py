"""Resident set size of this process, now and at its peak, from Linux's /proc. A separate file: it depends on no benchmark."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def now() -> int | None:
    """Return the resident bytes of this process, None where the system does not report them."""
    return _field("VmRSS")


def settled() -> int | None:
    """Return the same after collecting garbage and, where the C library can, returning free memory to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
    return now()


class PeakMemory:
    """Measures a `with` block: afterwards `peak` is the largest number of bytes held in it, None if unknown."""

    peak: int | None = None

    def __enter__(self) -> PeakMemory:
        try:
            RESET.write_text("5")  # the kernel measures the peak from here on
            self._measuring = True
        except OSError:
            self._measuring = False
        return self

    def __exit__(self, *_: object) -> None:
        self.peak = _field("VmHWM") if self._measuring else None


def _field(name: str) -> int | None:
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
