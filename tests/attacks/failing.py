"""What may fail in a process, made to fail: allocations of Python and NumPy, and whatever brings bytes to a disk."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from typing import Any
from unittest import mock

import numpy as np
from llvmlite import ir

from tests.attacks.native import BYTE, WHOLE, call, counters, function, place

LARGE = 2**20  # bytes: smaller allocations never fail
HANDLER, GET_HANDLER = b"mem_handler", 305  # of NumPy's C interface (numpy/_core/code_generators/numpy_api.py)
BEFORE = 128  # bytes before the context and the functions in a PyDataMem_Handler (numpy/ndarraytypes.h)
RAW = 0  # PYMEM_DOMAIN_RAW: where the other domains of Python take what is larger than 512 bytes
FUNCTIONS = 4  # the context, malloc, calloc, realloc: what is freed is left alone

WRITES = ("open", "write", "fsync", "replace", "link", "chmod", "posix_fallocate", "ftruncate")
ERRORS = {"full": errno.ENOSPC, "broken": errno.EIO, "interrupted": errno.EINTR}
SHORT, CUT = "short", "cut"  # one byte is written, and all is well; half is written, and then the disk is full
HOW = (*ERRORS, SHORT, CUT)

COUNTS = counters(3)  # large allocations so far; the first and the last one that fail
Table = Any


@contextmanager
def allocations(first: int = 0, last: int = 0) -> Iterator[Callable[[], int]]:
    """Let the large allocations from `first` to `last` fail, counted from 1; give how many there were so far."""
    before = [list(table) for table in _tables()]
    hooked = [[functions[0], *_hooks(*functions[1:])] for functions in before]
    if _numpy_asks_python():  # its allocations would be counted twice
        hooked[0] = before[0]
    COUNTS[:] = 0, first, last
    try:
        _set(hooked)
        yield lambda: int(COUNTS[0])
    finally:
        _set(before)


@cache
def _numpy_asks_python() -> bool:
    """Say whether NumPy takes its memory from Python's allocator, as NumPy 2.5 does, and not from the C library."""
    before = [list(table) for table in _tables()]
    COUNTS[:] = 0, 0, 0
    try:
        _set([before[0], [before[1][0], *_hooks(*before[1][1:])]])
        np.empty(LARGE, np.uint8)
        return bool(COUNTS[0])
    finally:
        _set(before)


def _set(functions: Sequence[Sequence[int | None]]) -> None:
    numpy, python = _tables()
    numpy[:FUNCTIONS] = functions[0][:FUNCTIONS]
    python[:FUNCTIONS] = functions[1][:FUNCTIONS]
    ctypes.pythonapi.PyMem_SetAllocator(RAW, ctypes.byref(python))


def _tables() -> tuple[Table, Table]:
    """Return where NumPy's handler keeps its functions, and a copy of what Python's domain has."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    interface = pointer(import_module("numpy._core._multiarray_umath")._ARRAY_API, None)
    handler = (ctypes.c_void_p * (GET_HANDLER + 1)).from_address(interface)[GET_HANDLER]
    capsule = ctypes.PYFUNCTYPE(ctypes.py_object)(handler)()
    numpy = (ctypes.c_void_p * FUNCTIONS).from_address(pointer(capsule, HANDLER) + BEFORE)
    python = (ctypes.c_void_p * (FUNCTIONS + 1))()
    ctypes.pythonapi.PyMem_GetAllocator(RAW, ctypes.byref(python))
    return numpy, python


@cache
def _hooks(malloc: int, calloc: int, realloc: int, free: int = 0) -> tuple[int, int, int]:
    """Return functions that do as these three, or fail."""
    return (
        _hook(malloc, [BYTE, WHOLE], lambda builder, arguments: arguments[1]),
        _hook(calloc, [BYTE, WHOLE, WHOLE], lambda builder, arguments: builder.mul(arguments[1], arguments[2])),
        _hook(realloc, [BYTE, BYTE, WHOLE], lambda builder, arguments: arguments[2]),
    )


def _hook(original: int, kinds: Sequence[Any], size_of: Callable[[ir.IRBuilder, Any], Any]) -> int:
    def body(builder: ir.IRBuilder, arguments: Any) -> Any:
        result = builder.alloca(BYTE)
        builder.store(ir.Constant(BYTE, None), result)
        large = builder.icmp_unsigned(">=", size_of(builder, arguments), WHOLE(LARGE))
        count, first, last = (builder.load(place(builder, COUNTS, k)) for k in range(3))
        count = builder.add(count, builder.zext(large, WHOLE))
        builder.store(count, place(builder, COUNTS, 0))
        within = builder.and_(builder.icmp_signed(">=", count, first), builder.icmp_signed("<=", count, last))
        with builder.if_then(builder.not_(builder.and_(large, within))):
            builder.store(call(builder, original, BYTE, arguments), result)
        return builder.load(result)

    return function(BYTE, kinds, body)


class Writes:
    """Counts what brings bytes to a disk in a `with` block, and lets the so-many-th fail, in the way that `how` says."""

    def __init__(self, failing: int = 0, how: str = "full") -> None:
        self.count, self._failing, self._how, self._patches = 0, failing, how, ExitStack()
        self._full = False

    def __enter__(self) -> Writes:
        for name in WRITES:
            if hasattr(os, name):
                self._patches.enter_context(mock.patch.object(os, name, self._failing_one(name, getattr(os, name))))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _failing_one(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self._full and name == "write":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.count != self._failing:
                return real(*arguments, **options)
            if self._how in ERRORS:
                raise OSError(ERRORS[self._how], os.strerror(ERRORS[self._how]))
            if name != "write":
                return real(*arguments, **options)
            self._full = self._how == CUT
            length = 1 if self._how == SHORT else len(arguments[1]) // 2
            return real(arguments[0], memoryview(arguments[1])[:length])

        return run


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, whoever writes it: the system itself refuses."""
    resource = import_module("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def possible() -> bool:
    """Say whether this system has what is needed here."""
    return sys.platform == "linux" and sys.implementation.name == "cpython"
