"""Reductions of short rows, as in softmax: generated functions, where a test shows that they give NumPy's bits.

NumPy's loop is called row by row, which for ten columns takes longer than the computation. NumPy does not document its order
of summation, so each length is tested before it is used: if a single bit differs, NumPy's loop is called.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.resources import files
from string import Template
from typing import NamedTuple

import numpy as np
from bpengine_steps.ir import DType, StepNode

from bpengine.system.quiet import Quiet
from bpengine_numpy.llvm_target.object_code.loop_cache import addresses
from bpengine_numpy.llvm_target.ufunc_loops import strided_loop

LONGEST = 128  # the most elements of a row: NumPy sums longer ones in halves
TRIED = 64  # rows of a test
_NAMES = {4: "float", 8: "double"}
_LOWEST = "0xFFF0000000000000"  # minus infinity, in either type


class RowReductions(NamedTuple):
    """The addresses of the functions of `row_reductions.ll`, in its order; the fields have the names of NumPy's ufuncs."""

    add: int
    maximum: int


def row_length(node: StepNode) -> int:
    """Return the number of elements that a reduction combines into each of its results."""
    return node.inputs[0].size // max(node.size, 1)


def row_reduction(ufunc: str, dtype: DType, length: int) -> int:
    """Return the address of the function that reduces rows of so many elements, 0 where NumPy's loop must be used."""
    if source_of(ufunc, dtype, length) is None or not _is_numpys(ufunc, dtype, length):
        return 0
    return int(getattr(_functions(dtype.itemsize), ufunc))


def source_of(ufunc: str, dtype: DType, length: int) -> str | None:
    """Return the text of such a function, None where there is none."""
    known = dtype.kind == "f" and dtype.itemsize in _NAMES and dtype.isnative and ufunc in RowReductions._fields
    return text(dtype.itemsize) if known and 1 <= length <= LONGEST else None


@cache
def text(itemsize: int) -> str:
    """Return the functions for elements of so many bytes as LLVM's instructions."""
    written = files("bpengine_numpy.llvm_target").joinpath("row_reductions.ll").read_text(encoding="ascii")
    return Template(written).substitute(T=_NAMES[itemsize], SIZE=itemsize, LOWEST=_LOWEST)


@cache
def _functions(itemsize: int) -> RowReductions:
    return RowReductions(*addresses(text(itemsize)))


@cache
def _is_numpys(ufunc: str, dtype: DType, length: int) -> bool:
    """Reduce rows of very different numbers, with zeros and NaN among them, and compare every bit."""
    draw = np.random.default_rng(length)
    rows = (draw.normal(size=(TRIED, length)) * 10.0 ** draw.integers(-6, 7, (TRIED, length))).astype(dtype)
    rows[draw.random(rows.shape) < 0.1] = 0.0
    rows[draw.random(rows.shape) < 0.1] *= -1
    rows[0], rows[1], rows[2, -1], rows[3, 0] = -0.0, np.inf, np.nan, -np.inf
    rows[4:12] = -abs(rows[4:12])
    result, room = np.empty(TRIED, dtype), np.zeros(7, np.int64)
    where = (result.ctypes.data, rows.ctypes.data, TRIED, length, dtype.itemsize, int(ufunc != "add"))
    words = np.array([*where, *strided_loop(ufunc, (dtype, dtype)), room.ctypes.data], np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(getattr(_functions(dtype.itemsize), ufunc))(words.ctypes.data)
    with Quiet():
        expected = getattr(np, ufunc).reduce(rows, axis=1)
    return bool(result.tobytes() == expected.tobytes())
