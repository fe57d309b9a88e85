"""The thread that writes checkpoints, from host copies: training continues while bytes are hashed and flushed to the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bpengine.backend import HostArray

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


class Writer:
    """Runs one task at a time in a thread of its own; memory for host copies is kept from task to task."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._task: Future[None] | None = None
        self._copies: dict[str, HostArray] = {}

    def prepare(self, sizes: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        """Allocate memory for copies of arrays of these shapes and dtypes, in the thread, while training continues.

        Allocating during the copy would take longer than the copy: the system clears every new page at its first write.
        """

        def task() -> None:
            self._copies = {name: np.full(shape, 1, dtype) for name, (shape, dtype) in sizes.items()}

        self.start(task)

    def copied(self, arrays: Mapping[str, HostArray]) -> dict[str, HostArray]:
        """Return copies in the prepared memory, valid until the next call. The previous task must be done."""
        for name, array in arrays.items():
            np.copyto(self._copies[name], array)
        return {name: self._copies[name] for name in arrays}

    def start(self, task: Callable[[], None]) -> None:
        """Start a task; the previous one must be done."""
        from concurrent.futures import ThreadPoolExecutor  # imported only when a fit writes checkpoints

        self._thread = self._thread or ThreadPoolExecutor(1, "bpengine-checkpoint")
        self._task = self._thread.submit(task)

    def wait(self) -> None:
        """Wait for the task's end, and raise what it raised."""
        task, self._task = self._task, None
        if task is not None:
            task.result()

    def close(self) -> None:
        """Wait for the task's end, and end the thread; what the task raised is not raised again."""
        if self._thread is not None:
            self._thread.shutdown()
        self._thread, self._task, self._copies = None, None, {}
