"""NumPy's inner loops, by address: the native code that a ufunc runs after the Python part of its call.

`ufunc._resolve_dtypes_and_context` and `_get_strided_loop` are NumPy's interface for compilers (NumPy 1.25 and later,
https://numpy.org/neps/nep-0050-scalar-promotion.html and the release notes); the capsule's layout is part of it.
A loop is called as loop(context, data pointers, dimensions, strides, auxiliary data). A self-test confirms this first.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from bpengine_steps.ir import DType, Untraceable

from bpengine_numpy.llvm_target.self_test import openblas
from bpengine_numpy.llvm_target.self_test.trial import CAPSULE

_NAME = CAPSULE.encode()
_KEPT: list[Any] = []  # capsules are kept, since a loop lives only as long as its capsule


class _CallInfo(ctypes.Structure):
    _fields_ = (
        ("loop", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
        ("auxiliary", ctypes.c_void_p),
        ("needs_python", ctypes.c_bool),
        ("no_floating_point_errors", ctypes.c_bool),
    )


class StridedLoop(NamedTuple):
    """Addresses of a loop, its context and its auxiliary data."""

    loop: int
    context: int
    auxiliary: int


@cache
def strided_loop(ufunc: str, dtypes: tuple[DType, ...]) -> StridedLoop:
    """Return NumPy's loop of a ufunc for operands of these dtypes; raise Untraceable where none is available."""
    trouble = openblas.verdict().loops
    if trouble:
        raise Untraceable(f"np.{ufunc}, whose loop cannot be called: {trouble}")
    function: Any = getattr(np, ufunc)
    try:
        _, capsule = function._resolve_dtypes_and_context((*dtypes, None))
        function._get_strided_loop(capsule)
    except (AttributeError, TypeError, ValueError) as error:
        raise Untraceable(f"np.{ufunc}: {error}") from None
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    info = _CallInfo.from_address(pointer(capsule, _NAME))
    if info.needs_python:
        raise Untraceable(f"np.{ufunc}, which needs Python")
    _KEPT.append(capsule)
    return StridedLoop(info.loop, info.context, info.auxiliary or 0)


@cache
def sum_piece() -> int:
    """Return how many numbers NumPy sums in one call of its loop: as many as its buffer holds (until 2.2), or 0 for all.

    Sums are pairwise within a call, so the last bits depend on where a call ends.
    """
    numbers = np.zeros(3 * 8192, np.float32)
    numbers[0], numbers[[12288, 16384]] = (
        2**24,
        1,
    )  # 2**24 + 1 is 2**24: pairs of halves give 2 more than pieces of 8192
    return 0 if np.add.reduce(numbers) > 2**24 else np.getbufsize()
