"""The call table: a plan's calls with the addresses of one run's arrays, which the interpreter runs in order."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from bpengine_steps.ir import FusionGroup, HostArray, Path, StepNode, Untraceable
from bpengine_steps.plan import ExecutionPlan

from bpengine_numpy.denormals import environment
from bpengine_numpy.llvm_target import blas_threads
from bpengine_numpy.llvm_target.codegen import Loop
from bpengine_numpy.llvm_target.interpreter import NUMPY_LOOP, ROW, functions
from bpengine_numpy.llvm_target.products.library_product import library_arguments, library_of
from bpengine_numpy.llvm_target.row_reductions import row_length, row_reduction
from bpengine_numpy.llvm_target.target import LlvmTarget
from bpengine_numpy.llvm_target.ufunc_loops import strided_loop, sum_piece


@dataclass(frozen=True, eq=False)
class CompiledLoop:
    """A pass as code, and the address of its machine code."""

    loop: Loop
    address: int


NAMED = 2**48  # every address of a process is smaller: from here on a word is the number of an array and a place in it


@dataclass(frozen=True, eq=False)
class _NamedWords:
    """Words of calls that are addresses in arrays: `words[at]` are where the arrays of these numbers begin, and `offset`."""

    words: HostArray
    at: HostArray
    number: HostArray
    offset: HostArray

    @classmethod
    def among(cls, calls: HostArray) -> _NamedWords:
        """Return those that name an array, in whose place an address has yet to be written."""
        words = calls.reshape(-1)
        at = np.flatnonzero(words >= NAMED)
        return cls(words, at, words[at] // NAMED - 1, words[at] % NAMED)

    def write(self, begins: HostArray) -> None:
        """Write the addresses, where the arrays begin at these."""
        self.words[self.at] = begins[self.number] + self.offset


@dataclass(frozen=True, eq=False, kw_only=True)
class RunArrays:
    """The arrays of one run besides the state: the data, its row numbers by step, the rates, and the reports."""

    data: tuple[HostArray, ...]
    order: HostArray | None
    lr: HostArray
    reports: Mapping[str, HostArray]


class CallTable:
    """A step's calls: the interpreter runs `table`, counts steps in `cell`, and reads `halted` after each step.

    The table is made for the state's arrays, and for the data where a step uses all rows: most calls contain their addresses.
    `aim` writes the addresses of a run's order, rates and reports before each run. None of these arrays is held between runs;
    `move` writes the addresses of other arrays.
    Raises Untraceable for arrays that the calls cannot take.
    """

    movable = True

    def __init__(
        self,
        plan: ExecutionPlan,
        loops: Mapping[FusionGroup, CompiledLoop],
        state: Mapping[Path, HostArray],
        data: tuple[HostArray, ...] | None,
        products: Mapping[StepNode, int] = MappingProxyType({}),
        arena: HostArray | None = None,
    ) -> None:
        self._plan, self._loops, self._memory, self._products = plan, loops, plan.memory, products
        step = plan.step
        self._arena = aligned(self._memory.size) if arena is None else arena
        self.cell, self._scratch = np.zeros(1, np.int64), np.zeros(8, np.int64)
        bound = self._bound(state, data)
        # the tail reads all reports from memory, so constants need memory, too
        reported = (node.base for node in step.reports.values())
        self._constants = self._memory.constants | {
            node.number: np.ascontiguousarray(node.info) for node in reported if node.op == "constant"
        }
        _require_order(self._constants.values())
        self._openmp = next((library.openmp for node in products if (library := library_of(node))), None)
        self._team, self._environment, self._queues = self._lent(), environment(), list[HostArray]()
        self._rooms, self._callbacks = list[HostArray](), list[Any]()
        self.failure: BaseException | None = None
        self.movable = self.movable and not any(map(_has_addresses, plan.groups))
        self._begins, self._named = _begins_of(bound), list[_NamedWords]()
        self._addresses = {number: array.ctypes.data for number, array in self._constants.items()}
        for k, (node, array) in enumerate(bound):
            self._addresses[node.number] = (k + 1) * NAMED if self.movable else array.ctypes.data
        for p, node in step.changed.items():
            if node.number in self._memory.in_place:
                self._addresses[node.number] = self._addresses[step.inputs[p].number]
        self._body = [call for group in plan.groups if group.kind != "tail" for call in self._calls(group)]
        self._own_queues = len(self._queues)  # queues after these belong to a run
        self._run: RunArrays | None = None
        self._patched = False  # whether only the addresses of the next run remain to be written
        self.table = np.zeros((0, ROW), np.int64)
        self.halted = self._halted()

    @property
    def size(self) -> int:
        """The bytes of memory that steps work in."""
        return int(self._arena.nbytes)

    def fits(self) -> bool:
        """Return whether threads and floating-point environment are still those for which the calls were made."""
        same = self._environment.value.tobytes() == environment().value.tobytes()
        return same and self._team == self._lent()

    def _lent(self) -> blas_threads.Team:
        """Return the threads for passes: those of the products."""
        return blas_threads.team() if self._openmp is None else blas_threads.openmp_team(self._openmp)

    def move(self, state: Mapping[Path, HostArray], data: tuple[HostArray, ...] | None) -> None:
        """Make a `movable` table, which has been aimed before, one for other arrays of the same form.

        Raises Untraceable for arrays that the calls cannot take.
        """
        self._begins = _begins_of(self._bound(state, data))
        self._write_begins()

    def _bound(
        self, state: Mapping[Path, HostArray], data: tuple[HostArray, ...] | None
    ) -> list[tuple[StepNode, HostArray]]:
        """Return the arrays that calls know the addresses of, with their nodes."""
        step = self._plan.step
        bound = [(node, state[p]) for p, node in step.inputs.items()]
        if data is not None:
            bound += zip(step.rows, data, strict=True)
        for node, array in bound:
            _require_same(node, array)
        _require_order(array for _, array in bound)
        return bound

    def _write_begins(self) -> None:
        for words in self._named:
            words.write(self._begins)

    def aim(self, run: RunArrays) -> None:
        """Write the calls that differ from run to run: those that fetch rows and rate, and those that report."""
        self._run, self.failure = run, None
        if self._patched:
            self._patch(run)
        else:
            self._write(run)
        self.cell[0], self.halted[0] = 0, False

    def _write(self, run: RunArrays) -> None:
        del self._queues[self._own_queues :]
        begin, end = [*self._fetch(run)], [*self._append_reports(run)]
        if not len(self.table):
            self.table = np.array([*begin, *self._body, *end], np.int64)
            self._body = []
            own = [self.table, *self._rooms, *self._queues[: self._own_queues]] if self.movable else []
            self._named = [words for calls in own if len((words := _NamedWords.among(calls)).at)]
        self.table[: len(begin)], self.table[len(self.table) - len(end) :] = begin, end
        self._write_begins()
        # otherwise some calls are queues of jobs for threads, which must be made again
        self._patched = len(self._queues) == self._own_queues

    def _patch(self, run: RunArrays) -> None:
        """Write the addresses of a run's arrays, the only difference between runs; see `_fetch` and `_append_reports`."""
        table, rate = self.table, 0
        if run.order is not None:
            rate, order = len(self._brought(run)), run.order.ctypes.data
            for k, (_, array) in enumerate(self._brought(run)):
                table[k, 2], table[k, 3], table[k, 7] = array.ctypes.data, order, run.order.itemsize
        table[rate, 2] = run.lr.ctypes.data
        names = self._plan.step.reports
        table[len(table) - len(names) :, 1] = [run.reports[name].ctypes.data for name in names]

    def release(self) -> None:
        """Drop the references to a run's arrays."""
        self._run = None

    def _halted(self) -> HostArray:
        node = self._plan.step.reports.get("halt")
        if node is None or node.op == "constant":
            return np.zeros(1, bool)
        place = self._memory.places[node.base.number]
        halted = self._arena[place : place + 1].view(bool)
        halted[0] = False
        return halted

    def _address(self, node: StepNode) -> int:
        """Return the address of a node's first element."""
        home = self._addresses.get(node.base.number)
        if home is None:
            home = self._arena.ctypes.data + self._memory.places[node.base.number]
        return int(home + node.offset * node.dtype.itemsize)

    def _fetch(self, run: RunArrays) -> Iterator[list[int]]:
        """Return the calls that fetch the step's rows and its learning rate."""
        cell, lr = self.cell.ctypes.data, run.lr
        if run.order is not None:
            for node, array in self._brought(run):
                yield self._together([*self._taken(node, array.ctypes.data, run.order)])
        where = (self._address(self._plan.step.rate), lr.ctypes.data, 0, cell)
        yield _call(functions().take_rows, *where, 1, lr.itemsize, 0, 1, 0)

    def _brought(self, run: RunArrays) -> list[tuple[StepNode, HostArray]]:
        """Return the rows that the step reads, with their data; a loop over shards fetches its rows itself."""
        pairs = zip(self._plan.step.rows, run.data, strict=True)
        return [(node, array) for node, array in pairs if node.number in self._memory.places]

    def _taken(self, node: StepNode, source: int, order: HostArray) -> Iterator[list[int]]:
        """Return the calls that gather the step's rows of an array, a part of them on each thread."""
        batch, width = node.shape[0], node.dtype.itemsize * prod(node.shape[1:])
        for first, rows in blas_threads.pieces(batch, batch * width, self._team.size):
            where = (self._address(node) + first * width, source, order.ctypes.data, self.cell.ctypes.data)
            yield _call(functions().take_rows, *where, rows, width, order.itemsize, batch, first)

    def _together(self, calls: list[list[int]]) -> list[int]:
        """Return one call that runs several calls at the same time, each on a thread."""
        if len(calls) == 1:
            return calls[0]
        queue = blas_threads.jobs(calls, self._environment)
        self._queues.append(
            queue if self._openmp is None else blas_threads.on_openmp(queue, self._openmp, self._team.size)
        )
        return _call(functions().together, self._team.execute, len(calls), self._queues[-1].ctypes.data)

    def _calls(self, group: FusionGroup) -> Iterator[list[int]]:
        if group.kind == "pass":
            compiled = self._loops[group]
            addresses = [self._address(node) for node in compiled.loop.arrays]
            blocks = compiled.loop.blocks(self._team.size)
            yield self._together([self._fused(compiled.address, compiled.loop.arguments(b, addresses)) for b in blocks])
        elif group.kind == "copy":
            yield self._copy(group)
        else:
            yield from self._single(group.nodes[0])

    def _copy(self, group: FusionGroup) -> list[int]:
        """Return the call that copies a new state that could not be written in place."""
        (new,), old = group.nodes, group.replaced
        assert old is not None  # a copy has one
        width = new.size * new.dtype.itemsize
        return _call(functions().copy_block, self._address(old), self._address(new), 1, width, 0, 0)

    def _append_reports(self, run: RunArrays) -> Iterator[list[int]]:
        for name, node in self._plan.step.reports.items():
            width = node.size * node.dtype.itemsize
            where = (run.reports[name].ctypes.data, self._address(node), self.cell.ctypes.data, width)
            yield _call(functions().put_report, *where)

    def _single(self, node: StepNode) -> Iterator[list[int]]:
        if node.op == "matmul":
            yield self._matmul(node)
        elif node.op in ("ufunc", "plus"):
            yield self._together([*self._elementwise(node)])
        elif node.op == "outside":
            yield self._outside(node)
        elif node.op == "loop":
            yield self._loop(node)
        elif node.op == "reduce" and node.info[1] == "middle":
            yield self._together([*self._block_sums(node)])
        elif node.op == "reduce":
            yield from self._reduction(node)
        else:
            yield from self._concatenation(node)

    def _fused(self, function: int, arguments: list[int]) -> list[int]:
        """Return the call of a pass; the arguments of a pass over many arrays are in separate memory."""
        if len(arguments) < ROW:
            return _call(function, *arguments)
        self._rooms.append(np.array(arguments, np.int64))
        return _call(functions().elsewhere, function, self._rooms[-1].ctypes.data)

    def _matmul(self, node: StepNode) -> list[int]:
        a, b = node.inputs
        if library_of(node):
            at = (self._address(a), self._address(b), self._address(node))
            return _call(self._products[node], *library_arguments(node, at))
        products, arrays = (a.shape[0] if len(a.shape) == 3 else 1), (a, b, node)
        outer = [x.strides[0] if len(x.shape) == 3 else 0 for x in arrays]
        steps = [s * node.dtype.itemsize for s in (*outer, *(s for x in arrays for s in x.strides[-2:]))]
        call = self._strided("matmul", node, [products, *a.shape[-2:], b.shape[-1]], steps)
        return _call(self._products[node], *call[1:]) if node in self._products else call

    def _elementwise(self, node: StepNode) -> Iterator[list[int]]:
        steps = [0 if n.size == 1 else n.dtype.itemsize for n in (*node.inputs, node)]
        for first, size in blas_threads.pieces(node.size, node.size * sum(steps), self._team.size, blas_threads.GRAIN):
            yield self._strided("add" if node.op == "plus" else node.info, node, [size], steps, first)

    def _strided(self, ufunc: str, node: StepNode, dims: list[int], steps: list[int], first: int = 0) -> list[int]:
        """Return the call of NumPy's loop, from the first element on or from another."""
        loop = strided_loop(ufunc, tuple(n.dtype for n in node.inputs))
        data = [self._address(n) + first * step for n, step in zip((*node.inputs, node), steps, strict=False)]
        return _call(NUMPY_LOOP, *loop, *_padded(data, 3), *_padded(dims, 4), *_padded(steps, 9))

    def _reduction(self, node: StepNode) -> Iterator[list[int]]:
        """Return the calls that reduce lines; where NumPy cuts a long sum into pieces, they add the same pieces in order."""
        (source,) = node.inputs
        ufunc, how = node.info
        lines = 1 if how == "all" else source.shape[0]
        length, piece = source.size // lines, sum_piece() if ufunc == "add" else 0
        if not 0 < piece < length:
            yield self._reduced_lines(node, 0, lines, length)
            return
        item = node.dtype.itemsize
        for line in range(lines):
            yield self._reduced_lines(node, line * length, 1, piece, line)
            result, begin = self._address(node) + line * item, self._address(source) + line * length * item
            for first in range(piece, length, piece):
                yield self._added(node, result, begin + first * item, min(piece, length - first))

    def _reduced_lines(self, node: StepNode, first: int, lines: int, length: int, result: int = 0) -> list[int]:
        """Return the call that reduces so many lines, from element `first` of the source on, to results from `result` on."""
        (source,), (ufunc, _), item = node.inputs, node.info, node.dtype.itemsize
        loop = strided_loop(ufunc, (source.dtype, source.dtype))
        what = (lines, length, item, int(ufunc != "add"))
        where = (self._address(node) + result * item, self._address(source) + first * item)
        function = row_reduction(ufunc, node.dtype, row_length(node)) or functions().reduce_lines
        return _call(function, *where, *what, *loop, self._scratch.ctypes.data)

    def _added(self, node: StepNode, result: int, start: int, count: int) -> list[int]:
        """Return the call that adds numbers to a result with NumPy's loop."""
        item = node.dtype.itemsize
        data = [*_padded([result, start, result], 3), *_padded([count], 4), *_padded([0, item, 0], 9)]
        return _call(NUMPY_LOOP, *strided_loop("add", (node.dtype, node.dtype)), *data)

    def _block_sums(self, node: StepNode) -> Iterator[list[int]]:
        """Return the calls that reduce the rows of each block, some blocks on each thread."""
        (source,) = node.inputs
        loop, item = strided_loop(node.info[0], (source.dtype, source.dtype)), node.dtype.itemsize
        blocks, rows, columns = source.shape
        for first, count in blas_threads.pieces(blocks, source.size * item, self._team.size):
            self._rooms.append(np.zeros(7, np.int64))
            where = self._address(node) + first * columns * item, self._address(source) + first * rows * columns * item
            what = (count, rows, columns, item, int(node.info[0] != "add"))
            yield _call(functions().reduce_blocks, *where, *what, *loop, self._rooms[-1].ctypes.data)

    def _loop(self, node: StepNode) -> list[int]:
        """Return the call that runs a loop over shards; `StepTable` implements it, since loops are not nested."""
        raise Untraceable(f"a loop over {len(node.info.turns)} turns inside of another")

    def _outside(self, node: StepNode) -> list[int]:
        """Return the call of a function of the host on memory of the program.

        An exception cannot pass through native code: it is kept as `failure`, and the function is not called again.
        """
        (source,) = node.inputs
        x, result = (array_at(self._address(n), n) for n in (source, node))
        function = node.info

        def run(_: int | None) -> None:
            if self.failure is None:
                try:
                    function(x, result)
                except BaseException as error:
                    self.failure = error

        self._callbacks.append(_CALLBACK(run))
        return _call(ctypes.cast(self._callbacks[-1], ctypes.c_void_p).value or 0)

    def _concatenation(self, node: StepNode) -> Iterator[list[int]]:
        """Return the calls that copy each part to its place, line by line: a line is contiguous in part and result."""
        target, item = self._address(node), node.dtype.itemsize
        lines, pitch = prod(node.shape[: node.info]), prod(node.shape[node.info :]) * item
        for part in node.inputs:
            width = prod(part.shape[node.info :]) * item
            yield _call(functions().copy_block, target, self._address(part), lines, width, pitch, width)
            target += width


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def array_at(address: int, node: StepNode) -> HostArray:
    """Return an array over memory with another owner."""
    memory: Any = (ctypes.c_uint8 * (node.size * node.dtype.itemsize)).from_address(address)
    array: HostArray = np.frombuffer(memory, node.dtype).reshape(node.shape)
    return array


def _has_addresses(group: FusionGroup) -> bool:
    """Say whether the calls of a group hold addresses elsewhere than in their words."""
    return group.kind == "single" and group.nodes[0].op in ("outside", "loop")


def _begins_of(bound: Iterable[tuple[StepNode, HostArray]]) -> HostArray:
    """Return where arrays begin; raise Untraceable where an address is none of the usual ones."""
    begins = np.array([array.ctypes.data for _, array in bound], np.int64)
    if (begins >= NAMED).any():
        raise Untraceable(f"an array at the address {begins.max():#x}")
    return begins


def _require_same(node: StepNode, array: HostArray) -> None:
    """Raise Untraceable for an array whose shape or dtype differs from the recorded one."""
    if (array.shape, array.dtype) != (node.shape, node.dtype):
        raise Untraceable(f"an array {array.dtype}{array.shape} in place of {node.dtype}{node.shape}")


def require_order(run: RunArrays) -> None:
    """Raise Untraceable for data or rates that are not in the order in which the calls read them."""
    _require_order([*run.data, run.lr])


def _require_order(arrays: Iterable[HostArray]) -> None:
    """Raise Untraceable for an array that is not in the order in which the calls read it."""
    for array in arrays:
        if not (array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative):
            raise Untraceable(f"an array that does not lie in C order: shape {array.shape}, strides {array.strides}")


def _call(function: int, *arguments: Any) -> list[int]:
    return _padded([function, *arguments], ROW)


def _padded(values: list[int], length: int) -> list[int]:
    if len(values) > length:
        raise Untraceable(f"a pass over {len(values)} arrays and numbers, of {length} at most")
    return values + [0] * (length - len(values))


def aligned(size: int) -> HostArray:
    """Return uninitialised bytes that begin at a cache line: zeroed memory would come in small pages, each a page fault."""
    raw = np.empty(size + LlvmTarget.alignment, np.uint8)
    start = -raw.ctypes.data % LlvmTarget.alignment
    return raw[start : start + size]
