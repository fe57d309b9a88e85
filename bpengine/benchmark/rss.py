"""Resident memory of this process, now and at its peak; only Linux tells both."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def now() -> int | None:
    """Return the bytes this process holds in memory now, None where the system does not tell."""
    return _field("VmRSS")


def settled() -> int | None:
    """Return the same after garbage has been collected and free memory given back, where the C library does that."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
    return now()


class PeakMemory:
    """Watches what happens inside a `with` block: `peak` is the most bytes held, None where the system does not tell."""

    peak: int | None = None

    def __enter__(self) -> PeakMemory:
        try:
            RESET.write_text("5")  # the kernel's peak counts from here
            self._watching = True
        except OSError:
            self._watching = False
        return self

    def __exit__(self, *_: object) -> None:
        self.peak = _field("VmHWM") if self._watching else None


def _field(name: str) -> int | None:
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
