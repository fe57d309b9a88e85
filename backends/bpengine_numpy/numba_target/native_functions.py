"""The interpreter's functions as Numba compiles them, and what fused loops are written with.

Each takes the address of its arguments, 64-bit integers. None may raise: nobody is there to hear it. This module imports
Numba, so it is loaded only to compile (see `object_code`); `interpreter` gives the compiled functions by address.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from bpengine_numpy.numba_target.table_layout import ITEM, MOVED, NUMPY_LOOP, POINTERS, ROW

_INT, _BYTE = ir.IntType(64), ir.IntType(8)
SIGNATURE = types.void(types.CPointer(types.int64))


@intrinsic
def address(typingctx: Any, value: Any) -> Any:
    """Turn an integer into a pointer for carray."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], _BYTE.as_pointer())

    return types.voidptr(value), generate


@intrinsic
def place(typingctx: Any, pointer: Any) -> Any:
    """Turn a pointer into an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], _INT)

    return types.int64(pointer), generate


@intrinsic
def call_row(typingctx: Any, function: Any, row: Any) -> Any:
    """Call function(row), both given as integers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_INT.as_pointer()])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [builder.inttoptr(args[1], _INT.as_pointer())])
        return context.get_dummy_value()

    return types.void(function, row), generate


@intrinsic
def call_strided(typingctx: Any, loop: Any, context_: Any, auxiliary: Any, data: Any, dims: Any, strides: Any) -> Any:
    """Call one of NumPy's strided loops; every argument is an address given as an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, whole = _BYTE.as_pointer(), _INT.as_pointer()
        kind = ir.FunctionType(ir.IntType(32), [byte, whole, whole, whole, byte])
        loop_, context__, auxiliary_, data_, dims_, strides_ = args
        order = ((context__, byte), (data_, whole), (dims_, whole), (strides_, whole), (auxiliary_, byte))
        pointers = [builder.inttoptr(value, kind_) for value, kind_ in order]
        return builder.call(builder.inttoptr(loop_, kind.as_pointer()), pointers)

    return types.int32(loop, context_, auxiliary, data, dims, strides), generate


@intrinsic
def call_team(typingctx: Any, execute: Any, count: Any, jobs: Any) -> Any:
    """Call execute(count, jobs), all given as integers: OpenBLAS's way to run a job on each of its threads."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [_INT, _INT.as_pointer()])
        execute_, count_, jobs_ = args
        return builder.call(
            builder.inttoptr(execute_, kind.as_pointer()), [count_, builder.inttoptr(jobs_, _INT.as_pointer())]
        )

    return types.int32(execute, count, jobs), generate


def run_table(p: Any) -> None:
    """Run steps of a table of calls.

    p = (the table, its rows, steps, the step's cell, what says "halt", where to say how many were run).
    """
    start, rows, steps = p[0], p[1], p[2]
    table = carray(address(start), (rows, ROW), np.int64)
    cell, done = carray(address(p[3]), 1, np.int64), carray(address(p[5]), 1, np.int64)
    halted = carray(address(p[4]), 1, np.bool_)
    done[0] = 0
    while done[0] < steps and not (done[0] and halted[0]):
        for k in range(rows):
            base = start + (k * ROW + 1) * ITEM
            if table[k, 0] == NUMPY_LOOP:
                # np.matmul moves the pointers it is given from product to product; the next step needs them as they were
                for operand in range(POINTERS):
                    table[k, 1 + MOVED + operand] = table[k, 4 + operand]
                dims = base + 6 * ITEM
                call_strided(table[k, 1], table[k, 2], table[k, 3], base + MOVED * ITEM, dims, dims + 4 * ITEM)
            else:
                call_row(table[k, 0], base)
        cell[0] += 1
        done[0] += 1


def together(p: Any) -> None:
    """Run jobs at the same time, each on a thread: p = (exec_blas, count, the first job)."""
    call_team(p[0], p[1], p[2])


def as_given(p: Any) -> None:
    """Call a function in the floating-point environment of another thread.

    p = (fegetenv or 0, fesetenv, room for this thread's environment, the other one, the function, its arguments).
    """
    if p[0] != 0:
        call_row(p[0], p[2])
        call_row(p[1], p[3])
    call_row(p[4], place(p) + 5 * ITEM)
    if p[0] != 0:
        call_row(p[1], p[2])


def elsewhere(p: Any) -> None:
    """Call a function whose arguments lie elsewhere: p = (the function, their address)."""
    call_row(p[0], p[1])


def strided(p: Any) -> None:
    """Run one of NumPy's loops: p = (loop, context, auxiliary, 3 data pointers, 4 dimensions, 9 strides, room for 3)."""
    for operand in range(POINTERS):
        p[MOVED + operand] = p[3 + operand]
    dims = place(p) + 6 * ITEM
    call_strided(p[0], p[1], p[2], place(p) + MOVED * ITEM, dims, dims + 4 * ITEM)


def take_rows(p: Any) -> None:
    """Copy rows of a step's batch.

    p = (target, source, order or 0, step's cell, rows, bytes per row, order's itemsize, rows of the batch, first of them).
    """
    cell = carray(address(p[3]), 1, np.int64)
    rows, width = p[4], p[5]
    target = carray(address(p[0]), rows * width, np.uint8)
    first = cell[0] * p[7] + p[8]
    wide, short = carray(address(p[2]), 1, np.int64), carray(address(p[2]), 1, np.int32)
    for r in range(rows):
        if p[6] == 8:
            place = wide[first + r]
        elif p[6] == 4:
            place = np.int64(short[first + r])
        else:
            place = first + r
        line = carray(address(p[1] + place * width), width, np.uint8)
        for b in range(width):
            target[r * width + b] = line[b]


def put_report(p: Any) -> None:
    """Append one element to a report: p = (report, element, step's cell, bytes)."""
    cell = carray(address(p[2]), 1, np.int64)
    report, element = carray(address(p[0] + cell[0] * p[3]), p[3], np.uint8), carray(address(p[1]), p[3], np.uint8)
    for b in range(p[3]):
        report[b] = element[b]


def copy_block(p: Any) -> None:
    """Copy lines of bytes: p = (target, source, lines, bytes per line, target's stride, source's stride)."""
    for r in range(p[2]):
        target, source = (
            carray(address(p[0] + r * p[4]), p[3], np.uint8),
            carray(address(p[1] + r * p[5]), p[3], np.uint8),
        )
        for b in range(p[3]):
            target[b] = source[b]


def reduce_lines(p: Any) -> None:
    """Reduce each line with one of NumPy's loops.

    p = (target, source, lines, length, itemsize, skip, loop, context, auxiliary, scratch for seven integers).
    With skip 0 a line starts from 0, with skip 1 from its first element.
    """
    item, skip, base = p[4], p[5], p[9]
    call = carray(address(base), 7, np.int64)
    call[3] = p[3] - skip
    call[4], call[5], call[6] = 0, item, 0
    for r in range(p[2]):
        out, line = p[0] + r * item, p[1] + r * p[3] * item
        start, first = carray(address(out), item, np.uint8), carray(address(line), item, np.uint8)
        for b in range(item):
            start[b] = first[b] if skip else np.uint8(0)
        call[0], call[1], call[2] = out, line + skip * item, out
        if call[3] > 0:
            call_strided(p[6], p[7], p[8], base, base + 24, base + 32)


def reduce_blocks(p: Any) -> None:
    """Reduce the rows of each block to one, row after row, with one of NumPy's loops.

    p = (target, source, blocks, rows, columns, itemsize, skip, loop, context, auxiliary, scratch for seven integers).
    With skip 0 a block starts from 0, with skip 1 from its first row.
    """
    rows, skip, base = p[3], p[6], p[10]
    width = p[4] * p[5]
    call = carray(address(base), 7, np.int64)
    call[3], call[4], call[5], call[6] = p[4], p[5], p[5], p[5]
    for block in range(p[2]):
        out, source = p[0] + block * width, p[1] + block * rows * width
        start, first = carray(address(out), width, np.uint8), carray(address(source), width, np.uint8)
        for b in range(width):
            start[b] = first[b] if skip else np.uint8(0)
        for row in range(skip, rows):
            call[0], call[1], call[2] = out, source + row * width, out
            call_strided(p[7], p[8], p[9], base, base + 24, base + 32)


FUNCTIONS = (
    run_table,
    together,
    as_given,
    elsewhere,
    strided,
    take_rows,
    put_report,
    copy_block,
    reduce_lines,
    reduce_blocks,
)
