"""The interpreter: runs a table of native calls, step after step, without Python in between.

A step is a table of 64-bit integers, one row per call: the address of a function, a fused loop or one of those below,
and its arguments; or 0, and one of NumPy's loops, which small networks cannot afford to reach through another function.
The functions are compiled once on each machine and kept on disk; only fused loops are compiled for a network.
"""

from __future__ import annotations

import ctypes
from importlib.resources import files
from string import Template

import numpy as np
from bpengine_steps.ir import HostArray

from bpengine_numpy.llvm_target.object_code.loop_cache import addresses
from bpengine_numpy.llvm_target.table_layout import ITEM, MOVED, NUMPY_LOOP, ROW

__all__ = ["ITEM", "NUMPY_LOOP", "ROW", "run_table"]

_TEXT = Template(files("bpengine_numpy.llvm_target").joinpath("native_functions.ll").read_text(encoding="ascii"))
(
    RUN_TABLE,
    TOGETHER,
    AS_GIVEN,
    ELSEWHERE,
    STRIDED,
    TAKE_ROWS,
    PUT_REPORT,
    COPY_BLOCK,
    REDUCE_LINES,
    REDUCE_BLOCKS,
) = addresses(_TEXT.substitute(ROW=ROW, MOVED=MOVED))  # in the text's order

_run_table = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(RUN_TABLE)  # other threads of Python run meanwhile


def run_table(table: HostArray, start: int, rows: int, steps: int, cell: HostArray, halted: HostArray) -> int:
    """Run `steps` steps of the table at address `start`; `cell[0]` is the step's number. Return how many were run."""
    done = np.zeros(1, np.int64)
    words = (start, rows, steps, cell.ctypes.data, halted.ctypes.data, done.ctypes.data)
    arguments = np.array(words, np.int64)
    _run_table(arguments.ctypes.data)
    return int(done[0])
