"""Program: a step written as CUDA C for one signature, bound to a device's memory, run as captured windows of steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from bpengine_steps.adaptive import Pieces
from bpengine_steps.ir import Path, StepNode, Untraceable
from bpengine_steps.signature import leaves, rebuilt
from bpengine_steps.tracing import DeviceFunction

from bpengine.backend import HostArray, State
from bpengine.errors import DeviceMemoryError
from bpengine.i18n.language import localized
from bpengine.kernels._kernel import Array
from bpengine_cupy.cuda_target.bfloat16 import COPY
from bpengine_cupy.cuda_target.codegen.program_text import SLOTS, CudaText, StepCall
from bpengine_cupy.cuda_target.driver import DeviceLost, Driver, Launchable, Look
from bpengine_cupy.cuda_target.staging import MIB, PIECES, HostRows, StagedRows

WINDOWS = (64, 8, 1)  # steps of a captured graph: one launch by the host for each
AHEAD = 2  # the most windows that wait in the stream
RUN = np.dtype(  # `struct Run` of prelude.cuh
    [(name, "i8") for name in ("next", "stop", "now", "live", "steps")]
    + [("data", "u8", SLOTS), ("order", "u8"), ("lr", "u8"), ("report", "u8", SLOTS)]
)
STOP = 8  # the offset of `stop` in it
SHARE = 16  # of the memory, one part is left for what depends on a run, where a batch is named that fits
WORD = 16  # bytes: rows are gathered in words of at most this size
MOST_ROWS = 2**31 - 1  # row numbers are sent as 32-bit integers


class CudaProgram:
    """A step for one signature. It compiles and allocates memory on first use.

    relieve: gives back memory of the device that programs hold which do not run, and says whether there was any.
    """

    def __init__(self, text: CudaText, driver: Driver, relieve: Callable[[], bool] = lambda: False) -> None:
        self.plan, self.text, self._driver, self._relieve = text.plan, text, driver, relieve
        self._made: list[Any] = []
        self._begin: Any = None
        self._parts = _parts(text.calls)
        self._lengths = WINDOWS if len(self._parts) == 1 else WINDOWS[-1:]
        self._graphs: dict[tuple[int, int], Any] = {}
        self._call_by_call = False
        self._memory: Array = None
        self._run: Array = None

    @property
    def missing(self) -> int:
        """1 where the text has never been compiled on this machine."""
        return 0 if self._made or self._driver.known(self.text.source) else 1

    def compile(self) -> None:
        """Load the kernels, allocate memory, copy the constants there, and choose the products' algorithms."""
        with self._driver.turn:
            if self._made:
                return
            try:
                self._compile()
            except BaseException as error:
                self._made = []
                self._memory = self._run = None  # what runs in place of the program needs the memory
                if isinstance(error, Exception):
                    self._require_device()
                raise

    def _require_device(self) -> None:
        """Raise DeviceLost if no launched work can finish any more: then what has failed is no fault of the step."""
        try:
            self._driver.wait()
        except Exception as error:  # whatever a driver may raise
            raise DeviceLost from error

    def _compile(self) -> None:
        driver, plan = self._driver, self.plan
        driver.begin()
        # before anything is compiled, which takes long: smaller programs are tried where there is no room for this one
        self._memory = self._arena()
        self._run = driver.empty(RUN.itemsize)
        kernels, text_begin = driver.kernels(self.text.source), self.text.begin
        base = driver.address(self._memory)
        for number, value in plan.memory.constants.items():
            self._bring(plan.memory.places[number], driver.upload(value.reshape(-1).view(np.uint8)), value.nbytes)
        self._begin = text_begin and kernels[text_begin.name]
        self._made = [self._launchable(call, kernels, base) for call in self.text.calls]
        driver.wait()
        self._try_once()

    def _try_once(self) -> None:
        """Run the calls of a step that changes nothing: libraries load code at first calls, which a capture does not allow."""
        self._reset(np.zeros(1, RUN))
        for number, part in enumerate(self._parts):
            if self.text.calls[part.start].outside is None:
                self._steps(1, number)
        self._driver.wait()

    def _arena(self) -> Array:
        """Allocate the program's memory; if it is not free, raise DeviceMemoryError that says which batch would fit."""
        size = self.plan.memory.size
        try:
            return self._taken(size)
        except MemoryError:
            free = self._driver.free()
            if not self.plan.step.rows:
                raise self._no_evaluation(free) from None
            needed, kept, left, cure = (
                size / MIB,
                self._lasting / MIB,
                free / MIB,
                self._cure(free, self._extent_of_changed[1]),
            )
            raise DeviceMemoryError.of(
                f"backend 'cupy' has too little GPU memory for a compiled step: {needed:,.1f} MiB are needed, {kept:,.1f} MiB "
                f"of them for parameters and optimizer, and {left:,.1f} MiB are free. {cure}",
                size,
                free,
            ) from None

    def _taken(self, size: int) -> Array:
        """Allocate memory, after programs that do not run have given theirs back if that is necessary."""
        try:
            return self._driver.empty(size)
        except MemoryError:
            if not self._relieve():
                raise
            return self._driver.empty(size)

    def _no_evaluation(self, free: int) -> DeviceMemoryError:
        """Return the error of a function, of which the program's memory and new results are needed at once."""
        whole = self.plan.memory.size + self._extent_of_changed[1]
        needed, left = whole / MIB, free / MIB
        return DeviceMemoryError.of(
            f"backend 'cupy' has too little GPU memory for an evaluation: {needed:,.1f} MiB are needed, and {left:,.1f} MiB "
            "are free. Give fewer rows at once.",
            whole,
            free,
        )

    def _launchable(self, call: StepCall, kernels: Mapping[str, Launchable], base: int) -> Launchable:
        """Return the object that the driver launches for a call, or the function outside of the program."""
        if call.outside is not None:
            function: Launchable = call.outside.info
            return function
        return kernels[call.name] if call.product is None else self._driver.product(call.product, base)

    def pieces(self) -> Pieces:
        """Compile the missing text, in one piece."""
        self.compile()
        yield None

    def run(
        self, state: State, data: tuple[Array, ...], order: HostArray | None, lr: HostArray
    ) -> tuple[State, dict[str, HostArray]]:
        """Run len(lr) steps, or up to the first that reports "halt"; arrays are the device's, `order` and `lr` the host's."""
        return self.bind(state, data, order, lr)()

    def bind(
        self, state: State, data: tuple[Array, ...], order: HostArray | None, lr: HostArray
    ) -> Callable[[], tuple[State, dict[str, HostArray]]]:
        """Return a function that runs the steps. Nothing is launched before it is called: its call holds the driver's lock."""
        if max(map(len, data), default=0) > MOST_ROWS:
            raise Untraceable(f"more than {MOST_ROWS} rows")
        self.compile()

        def run() -> tuple[State, dict[str, HostArray]]:
            with self._driver.turn, self._room_for(lr, order):
                return self._steps_of(state, data, order, lr)

        return run

    def _steps_of(
        self, state: State, data: tuple[Array, ...], order: HostArray | None, lr: HostArray
    ) -> tuple[State, dict[str, HostArray]]:
        """Run the steps, with these arrays in the device's memory."""
        driver, plan = self._driver, self.plan
        leaf_at = dict(leaves(state))
        pairs = [(node, leaf_at[path]) for path, node in plan.step.inputs.items() if path in leaf_at]
        if order is None:
            pairs += zip(plan.step.rows, data, strict=True)
        # memory that a run needs in any case is allocated before rows, which use what is left
        new_arrays = self._room_of_changed()
        reported = {k: driver.empty(len(lr) * n.size * n.dtype.itemsize) for k, n in plan.step.reports.items()}
        staged, data = self._placed(data, order)
        order = staged.order if staged else order
        data = tuple(rows if driver.address(rows) % WORD == 0 else rows.copy() for rows in data)
        brought = self._bring_arrays(pairs)
        # the device reads these arrays until the end of the run
        held = [*self._start(data, order, lr, reported), *brought, *data]
        self._drive(len(lr), staged)
        done = int(driver.download(self._run).view(RUN)["next"][0])
        held.clear()
        reports = {k: self._report(reported[k], node, len(lr))[:done] for k, node in plan.step.reports.items()}
        new: State = rebuilt(state, {**leaf_at, **self._changed(new_arrays)})
        return new, reports

    @contextmanager
    def _room_for(self, lr: HostArray, order: HostArray | None) -> Iterator[None]:
        """Raise an error that names the memory of a run besides the program's own, where that is not free."""
        try:
            yield
        except MemoryError:
            step, free = self.plan.step, self._driver.free()
            if not step.rows:
                raise self._no_evaluation(free + self.plan.memory.size) from None
            numbers = 0 if order is None else order.size * np.dtype(np.int32).itemsize
            reports = sum(len(lr) * n.size * n.dtype.itemsize for n in step.reports.values())
            taken = lr.nbytes + numbers + reports + self._extent_of_changed[1]
            needed, left, cure = taken / MIB, free / MIB, self._cure(free + self.plan.memory.size, taken)
            raise DeviceMemoryError.of(
                f"backend 'cupy' has too little GPU memory beside a compiled step: a run of {len(lr)} steps takes "
                f"{needed:,.1f} MiB more, and {left:,.1f} MiB are free. {cure}",
                taken,
                free,
            ) from None

    def _cure(self, room: int, run: int) -> str:
        """Return a sentence that says with which batch the program fits into so many bytes.

        run: the bytes of a run besides the program's own, as far as they are known. The rows may have to come in pieces; a
        share is kept for row numbers and reports, whose size depends on the batch.
        """
        step, memory = self.plan.step, self.plan.memory
        batch = max((n.shape[0] for n in step.rows if n.shape), default=0)
        rows = sum(n.size * n.dtype.itemsize for n in step.rows)
        left = room - room // SHARE - run - self._lasting
        fits = min(batch * max(left, 0) // max(memory.size - self._lasting + PIECES * rows, 1), batch - 1)
        return f"batch_size={fits} would fit." if fits > 0 else "Not even one row would fit: train a smaller network."

    @property
    def _lasting(self) -> int:
        """The bytes of the program's memory that do not depend on the batch."""
        return self.plan.memory.state_size + sum(value.nbytes for value in self.plan.memory.constants.values())

    def _placed(self, data: tuple[Array, ...], order: HostArray | None) -> tuple[StagedRows | None, tuple[Array, ...]]:
        """Return the rows on the device: arrays there, or the object that copies rows that do not fit, and its rings."""
        placement = next((a.placement for a in data if isinstance(a, HostRows)), None)
        if placement is None or order is None:
            return None, data
        there = placement.settled(self.plan.memory.size)
        if there is not None:
            return None, there
        staged = StagedRows(self._driver, data, order, placement.host_memory)
        return staged, staged.rings

    def results(self, arguments: Mapping[Path, Array]) -> list[Array]:
        """Return the results of a function that was recorded as a step (see `bpengine_steps.functions`)."""
        self.compile()
        rates: HostArray = np.zeros(1, self.plan.step.rate.dtype)
        with self._driver.turn, self._room_for(rates, None):
            return self._results_of(arguments, rates)

    def _results_of(self, arguments: Mapping[Path, Array], rates: HostArray) -> list[Array]:
        driver, step = self._driver, self.plan.step
        new_arrays = self._room_of_changed()
        held = self._bring_arrays([(node, arguments[path]) for path, node in step.inputs.items() if path in arguments])
        halted = {k: driver.empty(node.size * node.dtype.itemsize) for k, node in step.reports.items()}
        held += self._start((), None, rates, halted)
        self._drive(1)
        held.clear()
        return list(self._changed(new_arrays).values())

    def _report(self, reported: Array, node: StepNode, steps: int) -> HostArray:
        values: HostArray = self._driver.download(reported).view(node.dtype).reshape(steps, *node.shape)
        return values

    def _bring(self, place: int, array: Array, size: int) -> None:
        self._driver.copy(self._driver.address(self._memory) + place, self._driver.address(array), size)
        self._driver.wait()  # the array may be freed before the stream reads it

    def _bring_arrays(self, pairs: list[tuple[StepNode, Array]]) -> list[Array]:
        """Launch copies of arrays; return the objects that must be kept until they have finished."""
        held = [array if array.flags.c_contiguous else array.copy(order="C") for _, array in pairs]
        self._driver.begin()  # the work that computes them may still be running
        base, places = self._driver.address(self._memory), self.plan.memory.places
        for (node, _), array in zip(pairs, held, strict=True):
            self._driver.copy(base + places[node.number], self._driver.address(array), node.size * node.dtype.itemsize)
        if self.text.begin:
            self._driver.call(self.text.begin, self._begin, base, self._driver.address(self._run))
        return held

    def _start(
        self, data: tuple[Array, ...], order: HostArray | None, lr: HostArray, reports: Mapping[str, Array]
    ) -> list[Array]:
        """Write the addresses of this run's arrays for the kernels; return the objects that must be kept until it ends."""
        driver = self._driver
        rates = driver.upload(lr)
        numbers = None if order is None else driver.upload(order.astype(np.int32, copy=False))
        run: HostArray = np.zeros(1, RUN)
        run["steps"] = len(lr)
        run["data"][0, : len(data)] = [driver.address(rows) for rows in data]
        run["order"], run["lr"] = 0 if numbers is None else driver.address(numbers), driver.address(rates)
        run["report"][0, : len(reports)] = [driver.address(values) for values in reports.values()]
        return [rates, numbers, self._reset(run)]

    def _reset(self, run: HostArray) -> Array:
        """Launch the copy of a new position in a run; return the object that must be kept until it has arrived."""
        raw = self._driver.upload(run.view(np.uint8))
        self._driver.copy(self._driver.address(self._run), self._driver.address(raw), RUN.itemsize)
        return raw

    def _drive(self, steps: int, staged: StagedRows | None = None) -> None:
        """Run windows, the longest first; a halt is detected some windows late, and steps after it change nothing."""
        looks: list[Look] = []
        try:
            with closing(staged.pieces() if staged else _whole(steps)) as pieces:
                for window in (w for piece in pieces for w in _windows(piece, self._lengths)):
                    if len(looks) == AHEAD and looks.pop(0)():
                        break
                    self._window(window)
                    looks.append(self._driver.look(self._driver.address(self._run) + STOP))
                    if staged:
                        staged.advance()
        finally:  # also on Ctrl-C: launched work still writes into arrays that are returned on leaving
            self._driver.wait()

    def _window(self, steps: int) -> None:
        """Run steps: the calls of each part as one graph, and functions outside of the program between the parts."""
        for number, part in enumerate(self._parts):
            if self.text.calls[part.start].outside is None:
                self._graph(steps, number)
            else:
                self._outside(part.start)

    def _graph(self, steps: int, number: int) -> None:
        if not self._call_by_call and (steps, number) not in self._graphs:
            try:
                self._graphs[steps, number] = self._driver.capture(lambda: self._steps(steps, number))
            except Exception as error:  # whatever a driver may raise: the calls are then run without a graph
                self._require_device()
                self._call_by_call = True
                warnings.warn(
                    localized(f"no CUDA graph of the training step, which runs call by call: {error!r}"), stacklevel=2
                )
        if self._call_by_call:
            self._steps(steps, number)
        else:
            self._driver.replay(self._graphs[steps, number])

    def _steps(self, count: int, number: int) -> None:
        driver, memory, run = self._driver, self._driver.address(self._memory), self._driver.address(self._run)
        part = self._parts[number]
        calls, launchables = self.text.calls[part.start : part.stop], self._made[part.start : part.stop]
        last = calls[-1]
        for _ in range(count):
            forked = False
            for call, launchable in zip(calls, launchables, strict=True):
                if call.beside:
                    driver.fork()
                    forked = True
                elif forked and call is last:
                    driver.join()
                    forked = False
                driver.call(call, launchable, memory, run)
            if forked:  # a product on the second stream is the last call before one that is outside of the program
                driver.join()

    def _outside(self, number: int) -> None:
        """Call a function outside of the program: between GPUs on the stream, else on the host, unless the run has halted."""
        driver, node, function = self._driver, self.text.calls[number].outside, self._made[number]
        assert node is not None  # such a call has one node
        x, result = self._array(node.inputs[0]), self._array(node)
        if isinstance(function, DeviceFunction):
            # All processes call this equally often, also in steps after a halt, whose exchanged values are not used.
            driver.between(lambda: function.function(x, result))
        elif driver.download(self._run).view(RUN)["live"][0]:
            summed: HostArray = np.empty(node.shape, node.dtype)
            function(driver.download(x), summed)
            self._bring(self.plan.memory.at(node), driver.upload(summed), summed.nbytes)

    def _array(self, node: StepNode) -> Array:
        """Return a node's array in the program's memory, not a copy."""
        start = self.plan.memory.at(node)
        return self._memory[start : start + node.size * node.dtype.itemsize].view(node.dtype).reshape(node.shape)

    @cached_property
    def _extent_of_changed(self) -> tuple[int, int]:
        """The start and the length in bytes of the changing arrays in the program's memory."""
        ends = [(begin, begin + node.size * node.dtype.itemsize) for _, node, begin in self._changing()]
        first = min((begin for begin, _ in ends), default=0)
        return first, max(1, max((end for _, end in ends), default=first) - first)

    def _changing(self) -> Iterator[tuple[Path, StepNode, int]]:
        """Yield the paths of the changed arrays of the visible state, with their nodes and offsets."""
        step, memory = self.plan.step, self.plan.memory
        for path in step.changed:
            if path[0] != COPY:
                node = step.inputs[path]
                yield path, node, memory.places[node.number]

    def _room_of_changed(self) -> Array:
        """Allocate memory for the changed arrays before the run: without memory afterwards its results would be lost."""
        return self._taken(self._extent_of_changed[1])

    def _changed(self, whole: Array) -> dict[Path, Array]:
        """Return the changed arrays in separate memory, `whole`: the program's memory is overwritten by its next run."""
        driver, (first, size) = self._driver, self._extent_of_changed
        driver.copy(driver.address(whole), driver.address(self._memory) + first, size)
        driver.wait()
        changed = {}
        for path, node, begin in self._changing():
            start = begin - first
            part = whole[start : start + node.size * node.dtype.itemsize]
            changed[path] = part.view(node.dtype).reshape(node.shape)
        return changed


def _whole(steps: int) -> Generator[int]:
    yield steps


def _parts(calls: Sequence[StepCall]) -> list[range]:
    """Return the lists of calls that form one graph each, and between them the calls outside of the program."""
    parts, start = list[range](), 0
    for number, call in enumerate(calls):
        if call.outside is not None:
            parts += [range(start, number), range(number, number + 1)]
            start = number + 1
    return [part for part in [*parts, range(start, len(calls))] if part]


def _windows(steps: int, lengths: Sequence[int]) -> list[int]:
    """Return the windows of a run: as many of the longest as fit, then of the next length."""
    windows = []
    for window in lengths:
        count, steps = divmod(steps, window)
        windows += [window] * count
    return windows
