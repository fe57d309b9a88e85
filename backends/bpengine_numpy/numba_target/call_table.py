"""Binding: a program's calls with the addresses of one run's arrays, as the table the machine works through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from bpengine_steps.ir import HostArray, Node, Unrecordable
from bpengine_steps.signature import Path

from bpengine_numpy.denormals import environment
from bpengine_numpy.numba_target import blas_threads, interpreter
from bpengine_numpy.numba_target.fusion import Unit
from bpengine_numpy.numba_target.schedule import ALIGN
from bpengine_numpy.numba_target.ufunc_loops import strided_loop

if TYPE_CHECKING:
    from bpengine_numpy.numba_target.executable import Program


class Binding:
    """One run's memory: `table` is what the machine runs, `cell` counts steps, `halted` is what it looks at after each."""

    def __init__(
        self,
        program: Program,
        state: Mapping[Path, HostArray],
        data: tuple[HostArray, ...],
        order: HostArray | None,
        lr: HostArray,
        reports: Mapping[str, HostArray],
    ) -> None:
        self._program = program
        self._arena = _aligned(program.schedule.arena)
        self.cell, self._scratch = np.zeros(1, np.int64), np.zeros(8, np.int64)
        given = [(node, state[p]) for p, node in program.inputs.items()]
        if order is None:
            given += zip(program.rows, data, strict=True)
        for node, array in given:
            _require_same(node, array)
        arrays = {node.number: array for node, array in given} | program.constants
        self._team, self._environment, self._queues = blas_threads.team(), environment(), list[HostArray]()
        self._rooms = list[HostArray]()
        self._order = None if order is None else np.ascontiguousarray(order)
        _require_order([*arrays.values(), *data, lr])
        self._held = (arrays, data, lr, reports)  # the table knows only addresses
        self._addresses = {number: array.ctypes.data for number, array in arrays.items()}
        for p, node in program.changed.items():
            if node.number in program.schedule.in_place:
                self._addresses[node.number] = self._addresses[program.inputs[p].number]
        self.table = np.array([*self._fetch(data, lr), *self._work(), *self._keep(reports)], np.int64)
        self.halted = self._halted()

    def _halted(self) -> HostArray:
        node = self._program.reports.get("halt")
        if node is None or node.op == "constant":
            return np.zeros(1, bool)
        place = self._program.schedule.places[node.base.number]
        halted = self._arena[place : place + 1].view(bool)
        halted[0] = False
        return halted

    def _address(self, node: Node) -> int:
        """Return where a node's first element lies."""
        home = self._addresses.get(node.base.number)
        if home is None:
            home = self._arena.ctypes.data + self._program.schedule.places[node.base.number]
        return int(home + node.offset * node.dtype.itemsize)

    def _fetch(self, data: tuple[HostArray, ...], lr: HostArray) -> Iterator[list[int]]:
        """Bring the step's rows and its learning rate."""
        cell, order = self.cell.ctypes.data, self._order
        if order is not None:
            for node, array in zip(self._program.rows, data, strict=True):
                yield self._together([*self._taken(node, array.ctypes.data, order)])
        rate = self._address(self._program.rate)
        yield _call(interpreter.TAKE_ROWS, rate, lr.ctypes.data, 0, cell, 1, lr.itemsize, 0, 1, 0)

    def _taken(self, node: Node, source: int, order: HostArray) -> Iterator[list[int]]:
        """Take the step's rows of an array, a part of them on each thread."""
        batch, width = node.shape[0], node.dtype.itemsize * prod(node.shape[1:])
        for first, rows in blas_threads.pieces(batch, batch * width, self._team.size):
            where = (self._address(node) + first * width, source, order.ctypes.data, self.cell.ctypes.data)
            yield _call(interpreter.TAKE_ROWS, *where, rows, width, order.itemsize, batch, first)

    def _together(self, calls: list[list[int]]) -> list[int]:
        """Return one call that makes several at the same time, each on a thread."""
        if len(calls) == 1:
            return calls[0]
        self._queues.append(blas_threads.jobs(calls, self._environment))
        return _call(interpreter.TOGETHER, self._team.execute, len(calls), self._queues[-1].ctypes.data)

    def _work(self) -> Iterator[list[int]]:
        for unit in self._program.schedule.order:
            yield from self._calls(unit)

    def _keep(self, reports: Mapping[str, HostArray]) -> Iterator[list[int]]:
        """Copy new state that could not be written in place, and append the reports."""
        for p, node in self._program.changed.items():
            if node.number not in self._program.schedule.in_place:
                target, width = self._address(self._program.inputs[p]), node.size * node.dtype.itemsize
                yield _call(interpreter.COPY_BLOCK, target, self._address(node), 1, width, 0, 0)
        for name, node in self._program.reports.items():
            width = node.size * node.dtype.itemsize
            where = (reports[name].ctypes.data, self._address(node), self.cell.ctypes.data, width)
            yield _call(interpreter.PUT_REPORT, *where)

    def _calls(self, unit: Unit) -> Iterator[list[int]]:
        node = unit.nodes[0]
        if unit.fused:
            assert self._program.functions is not None
            loop = self._program.loops[id(unit)]
            function, addresses = self._program.functions[id(unit)], [self._address(n) for n in loop.arrays]
            blocks = loop.blocks(self._team.size)
            yield self._together([self._fused(function, loop.arguments(block, addresses)) for block in blocks])
        elif node.op == "matmul":
            yield self._matmul(node)
        elif node.op == "ufunc":
            yield self._together([*self._elementwise(node)])
        elif node.op == "reduce" and node.info[1] == "middle":
            yield self._together([*self._block_sums(node)])
        elif node.op == "reduce":
            yield self._reduction(node)
        else:
            yield from self._concatenation(node)

    def _fused(self, function: int, arguments: list[int]) -> list[int]:
        """Return the call of a pass; the arguments of one over many arrays lie elsewhere."""
        if len(arguments) < interpreter.ROW:
            return _call(function, *arguments)
        self._rooms.append(np.array(arguments, np.int64))
        return _call(interpreter.ELSEWHERE, function, self._rooms[-1].ctypes.data)

    def _matmul(self, node: Node) -> list[int]:
        a, b = node.inputs
        products, arrays = (a.shape[0] if len(a.shape) == 3 else 1), (a, b, node)
        outer = [x.strides[0] if len(x.shape) == 3 else 0 for x in arrays]
        steps = [s * node.dtype.itemsize for s in (*outer, *(s for x in arrays for s in x.strides[-2:]))]
        return self._strided("matmul", node, [products, *a.shape[-2:], b.shape[-1]], steps)

    def _elementwise(self, node: Node) -> Iterator[list[int]]:
        steps = [0 if n.size == 1 else n.dtype.itemsize for n in (*node.inputs, node)]
        for first, size in blas_threads.pieces(node.size, node.size * sum(steps), self._team.size, blas_threads.GRAIN):
            yield self._strided(node.info, node, [size], steps, first)

    def _strided(self, ufunc: str, node: Node, dims: list[int], steps: list[int], first: int = 0) -> list[int]:
        """Call NumPy's loop from the first element on, or from another."""
        loop = strided_loop(ufunc, tuple(n.dtype for n in node.inputs))
        data = [self._address(n) + first * step for n, step in zip((*node.inputs, node), steps, strict=False)]
        return _call(interpreter.NUMPY_LOOP, *loop, *_padded(data, 3), *_padded(dims, 4), *_padded(steps, 9))

    def _reduction(self, node: Node) -> list[int]:
        (given,) = node.inputs
        ufunc, how = node.info
        lines = 1 if how == "all" else given.shape[0]
        loop = strided_loop(ufunc, (given.dtype, given.dtype))
        what = (lines, given.size // lines, node.dtype.itemsize, int(ufunc != "add"))
        where = (self._address(node), self._address(given))
        return _call(interpreter.REDUCE_LINES, *where, *what, *loop, self._scratch.ctypes.data)

    def _block_sums(self, node: Node) -> Iterator[list[int]]:
        """Reduce the rows of each block, some blocks on each thread."""
        (given,) = node.inputs
        loop, item = strided_loop(node.info[0], (given.dtype, given.dtype)), node.dtype.itemsize
        blocks, rows, columns = given.shape
        for first, count in blas_threads.pieces(blocks, given.size * item, self._team.size):
            self._rooms.append(np.zeros(7, np.int64))
            where = self._address(node) + first * columns * item, self._address(given) + first * rows * columns * item
            what = (count, rows, columns, item, int(node.info[0] != "add"))
            yield _call(interpreter.REDUCE_BLOCKS, *where, *what, *loop, self._rooms[-1].ctypes.data)

    def _concatenation(self, node: Node) -> Iterator[list[int]]:
        """Copy each part to its place, line by line: a line is what lies in one piece in part and result."""
        target, item = self._address(node), node.dtype.itemsize
        lines, pitch = prod(node.shape[: node.info]), prod(node.shape[node.info :]) * item
        for part in node.inputs:
            width = prod(part.shape[node.info :]) * item
            yield _call(interpreter.COPY_BLOCK, target, self._address(part), lines, width, pitch, width)
            target += width


def _require_same(node: Node, array: HostArray) -> None:
    """Raise Unrecordable for an array that is not what the step was recorded for."""
    if (array.shape, array.dtype) != (node.shape, node.dtype):
        raise Unrecordable(f"an array {array.dtype}{array.shape} in place of {node.dtype}{node.shape}")


def _require_order(arrays: Iterable[HostArray]) -> None:
    """Raise Unrecordable for an array that the program's calls would read in another order than its own."""
    for array in arrays:
        if not (array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative):
            raise Unrecordable(f"an array that does not lie in C order: shape {array.shape}, strides {array.strides}")


def _call(function: int, *arguments: Any) -> list[int]:
    return _padded([function, *arguments], interpreter.ROW)


def _padded(values: list[int], length: int) -> list[int]:
    if len(values) > length:
        raise Unrecordable(f"a pass over {len(values)} arrays and numbers, of {length} at most")
    return values + [0] * (length - len(values))


def _aligned(size: int) -> HostArray:
    """Return bytes that begin at a cache line, whatever is in them: zeros would come in small pages, each a fault."""
    raw = np.empty(size + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size]
