"""The interpreter: runs a table of native calls, step after step, without Python in between.

A step is a table of 64-bit integers, one row per call: the address of a function (a fused loop or one of those below) and
its arguments; or 0 and one of NumPy's loops, which is called directly to save small networks the cost of another call.
The functions are compiled once on each machine and kept on disk; only fused loops are compiled for a network.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from string import Template
from typing import NamedTuple

import numpy as np
from bpengine_steps.ir import HostArray

from bpengine_numpy.llvm_target.object_code.loop_cache import addresses
from bpengine_numpy.llvm_target.table_layout import ITEM, MOVED, NUMPY_LOOP, ROW, TURN

__all__ = ["ITEM", "NUMPY_LOOP", "ROW", "TURN", "Functions", "functions", "run_table", "text"]


class Functions(NamedTuple):
    """The addresses of the functions of `native_functions.ll`, in its order."""

    run_table: int
    together: int
    as_given: int
    elsewhere: int
    strided: int
    take_rows: int
    put_report: int
    copy_block: int
    reduce_lines: int
    reduce_blocks: int
    run_turns: int


@cache
def text() -> str:
    """Return the functions as LLVM's instructions."""
    written = files("bpengine_numpy.llvm_target").joinpath("native_functions.ll").read_text(encoding="ascii")
    return Template(written).substitute(ROW=ROW, MOVED=MOVED, TURN=TURN)


@cache
def functions() -> Functions:
    """Return the functions, compiled now unless they are on disk."""
    return Functions(*addresses(text()))


@cache
def _drive(function: int = 0) -> Callable[[int], None]:
    address = function or functions().run_table
    # releases the GIL, so other threads of Python run meanwhile
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)


def run_table(
    table: HostArray, start: int, rows: int, steps: int, cell: HostArray, halted: HostArray, function: int = 0
) -> int:
    """Run `steps` steps of the table at address `start`; `cell[0]` is the step's number. Return how many were run.

    function: the address of the function that runs this table, 0 for the interpreter.
    """
    done = np.zeros(1, np.int64)
    words = (start, rows, steps, cell.ctypes.data, halted.ctypes.data, done.ctypes.data)
    arguments = np.array(words, np.int64)
    _drive(function)(arguments.ctypes.data)
    return int(done[0])
