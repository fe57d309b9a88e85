"""Kernels that a step runs on a GPU and launches by the host, counted by PyTorch's profiler, hence a file beside the peers.

The profiler records the GPU work of every library in its process, including CuPy's and XLA's, also in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

LAUNCHES = ("LaunchKernel", "GraphLaunch", "Memcpy", "Memset")  # parts of the names of the runtime's functions
COPIES = ("Memcpy", "Memset")  # prefixes of device events that are not kernels


def count(work: Callable[[], object], steps: int) -> dict[str, float] | None:
    """Run `work`, which takes `steps` steps; return the counts of one step, None where the profiler cannot count."""
    if find_spec("torch") is None:
        return None
    profiler: Any = import_module("torch.profiler")
    with profiler.profile(activities=[profiler.ProfilerActivity.CUDA]) as seen:
        work()
    return tally(((event.name, event.device_type.name) for event in seen.events()), steps)


def tally(events: Iterable[tuple[str, str]], steps: int) -> dict[str, float] | None:
    """Return kernels, copies and launches a step from (name, device) of events; None when no kernel was seen."""
    kernels = copies = launches = 0
    for name, device in events:
        if device == "CUDA":
            copied = name.startswith(COPIES)
            copies, kernels = copies + copied, kernels + (not copied)
        elif name.startswith("cu") and any(part in name for part in LAUNCHES):
            launches += 1
    if not kernels:
        return None
    return {"kernels": kernels / steps, "copies": copies / steps, "launches": launches / steps}
