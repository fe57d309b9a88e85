"""The most memory that a process has held, since it began: also of a process that a larger one started."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_kilobytes() -> int:
    """Return the highest resident size of this process in KiB.

    On Linux from /proc: what `getrusage` tells includes the size of the process that this one was forked from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
