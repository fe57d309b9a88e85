"""Denormal numbers, those below 1.2e-38 in float32 (2.2e-308 in float64), count as zero while an epoch runs.

The processor takes a hundred times as long for them, and training produces them: the moments of an inactive unit decay
through that range. XLA does the same on the CPU. The processor's control register belongs to a thread and is set through
C's <fenv.h>; where the layout of its `fenv_t` is not known here, nothing changes.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np

from bpengine.backend import HostArray

for _kind in (np.float32, np.float64):
    # evaluated early, since NumPy caches it: evaluated while denormal numbers count as zero, it warns (until NumPy 2.3)
    np.finfo(_kind)
SIZE, _MXCSR = 8, 7  # fenv_t on x86-64 with glibc or musl: so many 32-bit integers, the last of them MXCSR
_FLUSH = 0x8040  # flags: denormal results become zero, and so do denormal operands (Intel's manual, volume 1, 10.2.3)


class Environment(NamedTuple):
    """A thread's floating-point environment, and the addresses of the functions that get and set it; 0 if unknown."""

    get: int
    set: int
    value: HostArray


@contextmanager
def flushed() -> Iterator[None]:
    """Treat denormal numbers as zero in this thread, within the block."""
    library = _library()
    if library is None:
        yield
        return
    before = environment().value
    within = before.copy()
    within[_MXCSR] |= np.uint32(_FLUSH)
    # addresses, not `array.ctypes`: converting that runs Python code, where Ctrl-C could prevent the call
    set_to, inside, outside = library.fesetenv, ctypes.c_void_p(within.ctypes.data), ctypes.c_void_p(before.ctypes.data)
    try:
        try:
            set_to(inside)
            yield
        finally:
            set_to(outside)
    finally:  # also if Ctrl-C comes after the other call has begun and before it is made
        set_to(outside)


def environment() -> Environment:
    """Return this thread's environment, for other threads that work for it."""
    library, value = _library(), np.zeros(SIZE, np.uint32)
    if library is None:
        return Environment(0, 0, value)
    library.fegetenv(ctypes.c_void_p(value.ctypes.data))
    return Environment(*_addresses(), value)


@cache
def _addresses() -> tuple[int, int]:
    """Return the addresses of the C library's functions, cached because the lookup takes longer than a call."""
    library = _library()
    assert library is not None
    functions = library.fegetenv, library.fesetenv
    asked, put = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return asked, put


@cache
def _library() -> ctypes.CDLL | None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    loaded = ctypes.CDLL(None)  # the C library of this process
    return loaded if hasattr(loaded, "fesetenv") else ctypes.CDLL("libm.so.6")
