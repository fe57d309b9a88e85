"""Hardware: processor, cores, memory, and the limits set on them by the environment and the system."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

GROUPS: Final = tuple(Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory/memory.limit_in_bytes"))
THREAD_LIMITS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cpu() -> dict[str, str | int]:
    """Return the processor's model, its cores and how many of them this process may use."""
    count = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count
    model = _fields(Path("/proc/cpuinfo")).get("model name") or platform.processor() or platform.machine()
    return {"model": model, "cores": count, "usable": usable}


def memory() -> dict[str, int | None]:
    """Return the bytes of memory, "total" and "available", None where the system does not say."""
    fields = _fields(Path("/proc/meminfo"))
    sizes = {name: _bytes(fields.get(field)) for name, field in (("total", "MemTotal"), ("available", "MemAvailable"))}
    if sizes["total"] is None and "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        sizes["total"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return sizes


def allocatable() -> int | None:
    """Return the bytes this process can still allocate: free memory and swap, or the limit of its control group if lower.

    None where the system does not say.
    """
    fields = _fields(Path("/proc/meminfo"))
    free, swap = _bytes(fields.get("MemAvailable")), _bytes(fields.get("SwapFree")) or 0
    known = [memory()["total"] if free is None else free + swap, *map(_number, GROUPS)]
    return min((size for size in known if size is not None), default=None)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None  # "max" means no limit


def thread_limits() -> dict[str, str]:
    """Return the variables set in the environment that limit threads."""
    return {name: os.environ[name] for name in THREAD_LIMITS if os.environ.get(name)}


def gib(size: int | None) -> str:
    """Return a number of bytes as text."""
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"


def _bytes(field: str | None) -> int | None:
    return None if field is None else int(field.split()[0]) * 1024


def _fields(path: Path) -> dict[str, str]:
    """Return the first value of every "name: value" line, or nothing when there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    named = (line.partition(":") for line in reversed(lines))
    return {name.strip(): value.strip() for name, colon, value in named if colon}
