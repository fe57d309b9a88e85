"""Forks and epochs exclude each other.

A fork ends the threads of OpenBLAS, in parent and child, and the next product starts new ones. This has two consequences:

- A process that is forked while another of its threads multiplies may hang, in NumPy as here. So a fork waits until
running epochs have ended, and no epoch begins meanwhile. After a time limit it waits no longer and warns, and the child
refuses to train.
- A new thread inherits the floating-point environment of the thread that starts it, and keeps it. So the first product
after a fork is made outside of epochs, in which denormal numbers count as zero (see `denormals`).
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bpengine.errors import ConfigError
from bpengine.i18n.language import localized
from bpengine.system.blas_pool import BLAS_POOL

PATIENCE = 10.0  # seconds that a fork waits: an epoch may itself wait for the forking thread
CURE = "Start processes by multiprocessing.get_context('spawn') or joblib's 'loky', or while no fit runs."
_LARGE = 256  # rows of a product that is large enough for threads


class Forks:
    """Makes epochs wait for forks, and forks for epochs."""

    def __init__(self) -> None:
        # Ctrl-C cannot interrupt `with` on a lock; with a Condition it may come after the lock is taken and before the block
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._running: dict[int, int] = {}  # epochs by thread; one may run within another
        self._waiting = 0  # the number of waiting forks
        self._started = False  # whether OpenBLAS's threads were started since the last fork
        self._amid = False  # whether this process was forked while another thread of its parent ran an epoch

    def watch(self) -> None:
        """Register the hooks that make forks wait, where the system has forks."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._after_in_child)

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Run an epoch: forks of other threads wait for its end.

        Raises ConfigError in a process whose matrix products may wait for ever.
        """
        if self._amid and BLAS_POOL.threads > 1:
            raise ConfigError(
                "training requires a process that was not forked while another thread of its parent trained: its matrix "
                f"products may wait for ever. {CURE}"
            )
        me = threading.get_ident()
        around = self._running.get(me, 0)  # number of this thread's epochs, which no other thread changes
        try:
            with self._lock:
                self._changed.wait_for(lambda: not self._waiting or me in self._running)
                if not self._started:
                    one = np.zeros((_LARGE, _LARGE), np.float32)
                    np.matmul(one, one)
                    self._started = True
                self._running[me] = around + 1
            yield
        finally:
            self._end(me, around)

    def _end(self, me: int, around: int) -> None:
        """Restore the number of a thread's epochs; Ctrl-C takes effect only after that."""
        try:
            with self._lock:
                self._set(me, around)
        finally:
            if self._running.get(me, 0) != around:  # interrupted before the number was restored
                with self._lock:
                    self._set(me, around)

    def _set(self, me: int, count: int) -> None:
        if count:
            self._running[me] = count
        else:
            self._running.pop(me, None)
        self._changed.notify_all()

    def _before(self) -> None:
        """Wait for the epochs of other threads; the lock is held during the fork, so the child inherits it consistent."""
        self._changed.acquire()
        self._waiting += 1
        me = threading.get_ident()
        if not self._changed.wait_for(lambda: not self._running.keys() - {me}, PATIENCE):
            warnings.warn(
                localized(
                    "a process was forked while another thread of it trained, which went on for "
                    f"{PATIENCE:g} s. Matrix products of both processes may wait for ever. {CURE}"
                ),
                RuntimeWarning,
                stacklevel=2,
            )

    def _after(self) -> None:
        self._waiting = max(0, self._waiting - 1)  # 0 where the fork was interrupted before it was counted
        self._started = False
        self._changed.notify_all()
        self._changed.release()

    def _after_in_child(self) -> None:
        """Forget the other threads, which do not exist in the child."""
        me = threading.get_ident()
        self._amid = self._amid or bool(self._running.keys() - {me})
        self._running = {thread: count for thread, count in self._running.items() if thread == me}
        self._waiting = 1
        self._after()


FORKS = Forks()
FORKS.watch()


def renewed_in_children(names: dict[str, Any], name: str) -> None:
    """Give a module, by its names, a new re-entrant lock `name` in the child of each fork.

    A fork copies a lock as it is: one that another thread held would never be released in the child, where that thread does
    not exist.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: names.update({name: threading.RLock()}))
