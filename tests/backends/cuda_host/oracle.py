"""An oracle of launches: what each call of a step wrote, against NumPy on the very operands it read.

Bit for bit where a number is made by algebra alone; within LIMIT where exp, log, tanh ... or a sum take part, for libraries
round those differently. A stored result is itself the operand of what follows it. No byte may change but the results'.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from bpengine_cupy.cuda_target.bfloat16 import BITS, COPY, ROUND, exact, rounded
from bpengine_cupy.cuda_target.codegen.program_text import CudaText, StepCall
from bpengine_cupy.cuda_target.epilogues import BIAS_GRADIENT, MASK
from bpengine_cupy.cuda_target.expressions import FLOATS_ONLY
from bpengine_cupy.cuda_target.program import RUN
from bpengine_steps.ir import FusionGroup, StepNode
from bpengine_steps.plan import ExecutionPlan

from tests.backends.cuda_host.player import IN_TURN, Player

Array = np.ndarray[Any, Any]
LIMIT = 64  # eps of the result's dtype, of its largest element
# C and NumPy may differ in the last places
ROUNDED = FLOATS_ONLY - {"sqrt", "reciprocal", "rint", "floor", "ceil", "trunc", "copysign", "signbit", "isinf"}
ACCURATE = {"f": np.dtype("f8")}  # what sums are added up in here


class Disagreement(AssertionError):
    """A launch wrote other numbers than NumPy, or to another place."""


def at(address: int, size: int) -> Array:
    """Return so many bytes at an address, as they are: not a copy."""
    if not size:  # the reports of a run without steps
        return np.zeros(0, np.uint8)
    return np.frombuffer((ctypes.c_char * size).from_address(address), np.uint8)


def seen_as(base: Array, node: StepNode) -> Array:
    """Return a node's elements in the memory of its base, given flat."""
    strides = [s * node.dtype.itemsize for s in node.strides]
    return np.lib.stride_tricks.as_strided(base[node.offset :], node.shape, strides)


def rounds(node: StepNode) -> bool:
    """Say whether a node's last places depend on a library, or on the order of a sum."""
    if node.op == "ufunc":
        return node.info in ROUNDED
    return (
        node.op in ("matmul", "dot")
        or node.info == BIAS_GRADIENT
        or (node.op != "concat" and "add" in (node.info, node.info[0]))
    )


class Oracle(Player):
    """Plays a plan's calls and checks each. `exact` and `close` count comparisons; `checked` are the nodes compared."""

    def __init__(self, text: CudaText, order: int = IN_TURN, change: Callable[[str], str] = lambda text: text) -> None:
        super().__init__(order, change)
        self.plan = plan = text.plan
        self.checked: set[int] = set()
        self.exact = self.close = self.idle = 0
        self.worst = 0.0  # eps
        held = [*plan.step.inputs.values(), *plan.step.rows, *plan.step.rounded_rows.values(), plan.step.rate]
        self._given = {node.number for node in held} | plan.memory.constants.keys()

    @property
    def unchecked(self) -> set[int]:
        """The arrays of the program's memory that no launch was seen to write."""
        return self.plan.memory.places.keys() - self._given - self.checked

    def _do(self, call: StepCall, launchable: Any, memory: int, run: int) -> None:
        if call.name == "begin":
            super()._do(call, launchable, memory, run)
            self._check_copies(memory)
            return
        if call.stage.head:
            self._poison(memory)
        watch = _Watch(self.plan, memory, run)
        super()._do(call, launchable, memory, run)
        check = _Check(self, call, watch)
        try:
            check.all()
        except Disagreement as error:
            raise Disagreement(f"{call.name}: {error}") from None

    def _check_copies(self, memory: int) -> None:
        """Compare the state's copies in bfloat16 with the state."""
        inputs, places = self.plan.step.inputs, self.plan.memory.places
        for path, copy in inputs.items():
            if path[0] == COPY:
                state = at(memory + places[inputs[path[1:]].number], 4 * copy.size).view(np.float32)
                if at(memory + places[copy.number], 2 * copy.size).tobytes() != rounded(state).tobytes():
                    raise Disagreement(f"begin: the copy of {path[1:]} is not what is rounded")
                self.exact += 1

    def _poison(self, memory: int) -> None:
        """Overwrite everything but the state between two steps, so that a step cannot read stale arrays."""
        whole, plan = at(memory, self.plan.memory.size), self.plan
        kept = whole.copy()
        whole[plan.memory.state_size :] = 0xFF
        for number, value in plan.memory.constants.items():
            place = slice(plan.memory.places[number], plan.memory.places[number] + value.nbytes)
            whole[place] = kept[place]


class _Watch:
    """The bytes that a launch could reach, before it runs; `touch` says which of them it should write."""

    def __init__(self, plan: ExecutionPlan, memory: int, run: int) -> None:
        self.memory, self.run = at(memory, plan.memory.size), at(run, RUN.itemsize)
        fields = self.run.view(RUN)[0]
        steps = int(fields["steps"])
        nodes = plan.step.reports.values()
        self.reports = [
            at(int(where), steps * n.size * n.dtype.itemsize) for where, n in zip(fields["report"], nodes, strict=False)
        ]
        self._areas = {"memory": self.memory, "run": self.run}
        self._areas |= {f"report {name}": area for name, area in zip(plan.step.reports, self.reports, strict=True)}
        self._before = {name: area.copy() for name, area in self._areas.items()}
        self._may = {name: np.zeros(len(area), bool) for name, area in self._areas.items()}
        self.before = self._before["memory"]

    def touch(self, area: str, start: int, size: int) -> None:
        self._may[area][start : start + size] = True

    def compare(self) -> None:
        for name, area in self._areas.items():
            stray = np.flatnonzero((area != self._before[name]) & ~self._may[name])
            if len(stray):
                raise Disagreement(f"writes {len(stray)} bytes elsewhere, from byte {stray[0]} of its {name}")


class _Check:
    """The check of one call that has just run."""

    def __init__(self, oracle: Oracle, call: StepCall, watch: _Watch) -> None:
        self.oracle, self.plan, self.call, self.watch = oracle, oracle.plan, call, watch
        self.head = call.stage.head
        self.fields = watch.run.view(RUN)[0].copy()
        self.values: dict[int, Array] = {}
        self.rounded: set[int] = set()  # values not known to the bit

    def all(self) -> None:
        live = self._head() if self.head else bool(self.fields["live"])
        # behind a halt a product multiplies what is left over, into memory that nothing reads
        for group in self.call.stage.groups if live or self.head or self.call.product else ():
            self.values, self.rounded = {}, set()
            if live:
                self._group(group)
            for node in group.nodes:
                if node.number in self.plan.memory.places and group.kind != "copy":
                    self._touch(node)
        self.oracle.idle += not live
        self.watch.compare()

    def _touch(self, node: StepNode) -> None:
        self.watch.touch("memory", self.plan.memory.places[node.number], node.size * node.dtype.itemsize)

    def _read(self, node: StepNode, memory: Array) -> Array:
        base = node.base
        if base.op == "constant":
            return seen_as(np.ascontiguousarray(base.info).reshape(-1), node)
        place = self.plan.memory.places[base.number]
        return seen_as(memory[place : place + base.size * base.dtype.itemsize].view(base.dtype), node)

    def _head(self) -> bool:
        """Check the head's own work: the step's number, its rows and its learning rate."""
        fields, step = self.fields, int(self.fields["next"])
        live = step < fields["steps"] and not fields["stop"]
        for name in ("now", "live"):
            self.watch.touch("run", RUN.fields[name][1], 8)
        if (int(fields["now"]), bool(fields["live"])) != (step, live):
            raise Disagreement(f"step {fields['now']} (live: {fields['live']}) for {step} ({live})")
        if not live:
            return False
        rate = self.plan.step.rate
        rates = at(int(fields["lr"]), int(fields["steps"]) * rate.dtype.itemsize).view(rate.dtype)
        self._same(rate, rates[step : step + 1], self._read(rate, self.watch.memory))
        self._touch(rate)
        for k, (node, where) in enumerate(zip(self.plan.step.rows, fields["data"], strict=False)):
            copy = self.plan.step.rounded_rows.get(k)
            batch, width = node.shape[0], node.size // node.shape[0] * node.dtype.itemsize
            numbers = at(int(fields["order"]) + step * batch * 4, batch * 4).view(np.int32)
            data = at(int(where), (int(numbers.max()) + 1) * width).reshape(-1, width)
            taken = data[numbers].view(node.dtype).reshape(node.shape)
            if node.number in self.plan.memory.stored:
                self._same(node, taken, self._read(node, self.watch.memory))
                self._touch(node)
            if copy is not None:
                self._same(copy, rounded(taken), self._read(copy, self.watch.memory))
                self._touch(copy)
        return True

    def _group(self, group: FusionGroup) -> None:
        if group.kind == "copy":
            (new,), old = group.nodes, group.replaced
            assert old is not None  # a copy has one
            self._same(old, self._read(new, self.watch.before), self._read(old, self.watch.memory))
            self._touch(old)
            return
        for node in group.nodes:
            self._write_node(node)
        if group.kind == "tail":
            self._tail(group)

    def _tail(self, group: FusionGroup) -> None:
        """Check the numbers reported, and whether the step ends the run."""
        step = int(self.fields["now"])
        for node, name, area in zip(
            self.plan.step.reports.values(), self.plan.step.reports, self.watch.reports, strict=True
        ):
            self._stored(node, self._value(node), area.view(node.dtype)[step : step + 1].reshape(node.shape))
            self.watch.touch(f"report {name}", step * node.dtype.itemsize, node.dtype.itemsize)
        halt = self.plan.step.reports.get("halt")
        stop = bool(self._value(halt).reshape(-1)[0]) if halt else False
        if (int(self.fields["next"]), bool(self.fields["stop"])) != (step + 1, stop):
            raise Disagreement(f"after step {step} comes {self.fields['next']}, stop: {self.fields['stop']} for {stop}")
        for field in ("next", "stop"):
            self.watch.touch("run", RUN.fields[field][1], 8)

    def _value(self, node: StepNode) -> Array:
        """Return an operand: made by this group, or worked out early in the head, or read from memory."""
        base = node.base
        early = self.head and base.op not in ("input", "constant")
        if base.number not in self.values and early:
            self._write_node(base)
        if base.number in self.values:
            return seen_as(np.ascontiguousarray(self.values[base.number]).reshape(-1), node)
        # in the head, all that is read is the state's counter, and the rate, which it brings there itself
        return self._read(node, self.watch.memory if self.head else self.watch.before)

    def _write_node(self, node: StepNode) -> None:
        """Work out a node, compare it where it is stored, and keep it for what follows."""
        if node.op == "view":
            return
        value = self._computed(node)
        if rounds(node) or any(operand.base.number in self.rounded for operand in node.inputs):
            self.rounded.add(node.number)
        self.values[node.number] = value
        own = {n.number for group in self.call.stage.groups for n in group.nodes}
        if node.number not in self.plan.memory.places or node.number not in own:
            return
        got = self._read(node, self.watch.memory)
        if node.op == "partial" and node.info[1] == "all":  # which summands go to which line is the pass's affair
            reduce = getattr(np, node.info[0]).reduce
            self._stored(node, reduce(value, axis=None), reduce(got, axis=None, dtype=value.dtype))
        else:
            self._stored(node, value, got)
        self.values[node.number] = got.copy()
        self.rounded.discard(node.number)

    def _computed(self, node: StepNode) -> Array:
        operands = [self._value(i) for i in node.inputs]
        result: Any
        if node.op == "ufunc":
            function = {"cast": lambda x: x.astype(node.dtype), "where": np.where, ROUND: rounded}.get(node.info)
            result = (function or getattr(np, node.info))(*operands)
        elif node.op == "dot":
            result = np.matmul(*operands)
        elif node.op == "matmul":
            result = np.matmul(*map(exact, operands[:2])) if operands[0].dtype == BITS else np.matmul(*operands[:2])
            if node.info and node.info.startswith("relu"):
                result = np.maximum(result + operands[2], 0)
            elif node.info:
                result = result * np.unpackbits(operands[2], axis=1, bitorder="little")[:, : node.shape[1]]
        elif node.info == MASK:
            bits = np.zeros((node.shape[0], 8 * node.shape[1]), bool)
            bits[:, : operands[0].shape[1]] = operands[0] > 0
            result = np.packbits(bits, axis=1, bitorder="little")
        elif node.info == BIAS_GRADIENT:
            result = operands[0].sum(axis=0, dtype=ACCURATE["f"])
        elif node.op == "concat":
            result = np.concatenate(operands, axis=node.info)
        else:
            accurate = operands[0].astype(ACCURATE.get(node.dtype.kind, node.dtype))
            if node.op == "partial":
                return self._lines(node, accurate)
            name, axis = (node.info, 0) if node.op == "finish" else (node.info[0], -1)
            result = getattr(np, name).reduce(accurate, axis=axis)
        return np.asarray(result, node.dtype).reshape(node.shape)

    def _lines(self, node: StepNode, summands: Array) -> Array:
        """Return the lines of a partial sum; where only their total is known, the first line holds it."""
        name, how = node.info
        ufunc, lines = getattr(np, name), node.shape[0]
        if how == "first":
            rows = -(-len(summands) // lines)
            return np.stack([ufunc.reduce(summands[k * rows : (k + 1) * rows], axis=0) for k in range(lines)])
        return np.asarray(ufunc.reduce(summands, axis=None))

    def _same(self, node: StepNode, wanted: Array, got: Array) -> None:
        self.rounded.discard(node.number)
        self._stored(node, wanted, got)

    def _stored(self, node: StepNode, wanted: Any, got: Any) -> None:
        """Compare what was stored."""
        oracle, what = self.oracle, f"node {node.number}, {node.op} {node.info if node.op != 'constant' else ''}"
        oracle.checked.add(node.number)
        if node.number not in self.rounded:
            oracle.exact += 1
            same = got.shape == wanted.shape and np.ascontiguousarray(got).tobytes() == wanted.tobytes()
            if not same and not _same_but_nan(got, wanted):
                raise Disagreement(f"{what}: other bits than NumPy's in {int((got != wanted).sum())} places")
            return
        oracle.close += 1
        if node.info == ROUND:  # next to a tie, the last place of the number decides
            got, wanted = exact(got).astype("f8"), exact(wanted).astype("f8")
            away = 0.0 if (np.abs(got - wanted) <= 2.0**-7 * np.abs(wanted)).all() else np.inf
        elif node.dtype.kind != "f":
            away = float((got != wanted).sum()) * np.inf if (got != wanted).any() else 0.0
        else:
            wanted, got = np.asarray(wanted, "f8"), np.asarray(got, "f8")
            largest = float(np.abs(wanted).max(initial=0.0)) or 1.0
            away = float(np.abs(got - wanted).max(initial=0.0)) / largest / float(np.finfo(node.dtype).eps)
        oracle.worst = max(oracle.worst, away)
        if not away <= LIMIT:
            raise Disagreement(f"{what}: {away:.0f} eps from NumPy")


def _same_but_nan(got: Array, wanted: Array) -> bool:
    """Say whether arrays agree to the bit, but for the sign and payload of NaN."""
    if got.dtype.kind != "f" or got.shape != wanted.shape:
        return False
    both = np.isnan(got) & np.isnan(wanted)
    zero = wanted.dtype.type(0)
    return np.where(both, zero, got).tobytes() == np.where(both, zero, wanted).tobytes()
