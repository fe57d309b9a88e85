"""The flat pass: threads over elements, 16 bytes at a time where sizes and alignment allow."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from bpengine_steps.access import COLUMN, ROW, AccessPattern
from bpengine_steps.ir import FusionGroup, StepNode, Untraceable
from bpengine_steps.memory_plan import MemoryPlan

from bpengine_cupy.cuda_target.codegen.passes import (
    MULTIPROCESSORS,
    THREADS,
    Names,
    accumulated,
    declared,
    dot,
    indented,
    load,
    operands,
    vector_length,
)
from bpengine_cupy.cuda_target.expressions import c_type, identity
from bpengine_cupy.cuda_target.single_numbers import SingleNumbers, is_single

MOST_INT = 2**31 - 1


@dataclass
class FlatPass:
    """Code that runs in `blocks` separate blocks. P0_, P1_ ... in it stand for `places`, so that similar passes share it.

    `rooms` are the types for which a block needs a buffer `room_TYPE`, a number for each of its threads.
    """

    blocks: int = 1
    code: str = ""
    places: list[int] = field(default_factory=list)
    rooms: set[str] = field(default_factory=set)

    def place(self, number: int) -> str:
        """Return the name that stands for a place or a size."""
        self.places.append(number)
        return f"P{len(self.places) - 1}_"


class FlatWriter:
    """Writes one flat pass. In the head, each thread computes single numbers itself, since none has been stored yet."""

    def __init__(self, group: FusionGroup, memory: MemoryPlan, head: bool) -> None:
        self.group, self.memory, self.out = group, memory, FlatPass()
        self.elements = prod(group.shape)
        self.columns = group.shape[-1] if len(group.shape) == 2 else self.elements
        self.names: Names = {}
        self.before: list[str] = []  # the loop over elements
        self.loads: list[str] = []
        self.body: list[str] = []
        self.stores: list[str] = []
        self.sums = [n for n in group.nodes if n.op == "partial"]
        self.finished = [n for n in group.nodes if n.op == "finish"]
        self.dots = [n for n in group.nodes if n.op == "dot"]
        if head:
            self._work_out_early()
        read = [entry for number, entry in operands(group).items() if number not in self.names]
        self.broadcast = any(how in (ROW, COLUMN) or how.name == "steps" for _, how in read)
        self.vector = vector_length(group, read, memory.stored, self._fits)
        for node, how in read:
            self._read(node, how)

    def _fits(self, length: int) -> bool:
        divides = not self.elements % length and not (self.broadcast and self.columns % length)
        return divides and self.elements >= 4 * THREADS and not (self.finished or self.dots)

    def write(self) -> FlatPass:
        """Return the pass."""
        if self.finished and self.broadcast:
            raise Untraceable("a finished sum under broadcasting")
        first = self._finish() if self.finished else []
        for node in self.group.nodes:
            if node.op == "partial":
                self.body.append(accumulated(f"a{node.number}", node, self.names))
            elif node.op == "ufunc":
                self.body.append(declared(node, self.names))
            elif node.op == "dot":
                self.body.append(declared(node, self.names, self._dot(node)))
            if node.number in self.memory.stored and node.op != "partial":
                self._store(node)
        self.out.code = "\n    ".join(self._after_sums(first) if self.finished else self._loop())
        return self.out

    def _read(self, node: StepNode, how: AccessPattern) -> None:
        pointer = f"AT(const {c_type(node.dtype)}, {self.out.place(self.memory.at(node))})"
        read = load(node, how, self.vector, pointer)
        self.names[node.number] = read.name
        (self.before if read.early else self.loads).append(read.line)

    def _store(self, node: StepNode) -> None:
        kind, number = c_type(node.dtype), node.number
        self.loads.append(f"Vec<{kind}, {self.vector}> w{number};")
        self.body.append(f"w{number}.v[u] = v{number};")
        self.stores.append(
            f"store<{kind}, {self.vector}>(AT({kind}, {self.out.place(self.memory.at(node))}) + k, w{number});"
        )

    def _dot(self, node: StepNode) -> str:
        """Return an element of a product as an expression; the elements are those of the pass, in order."""
        columns = node.shape[1]
        return dot(node, lambda n: self.out.place(self.memory.at(n)), f"int(k) / {columns}", f"int(k) % {columns}")

    def _accumulators(self) -> list[str]:
        return [f"{c_type(n.dtype)} a{n.number} = {identity(n.info[0], c_type(n.dtype))};" for n in self.sums]

    def _loop(self) -> list[str]:
        vector, columns = self.vector, self.columns
        count = str(self.elements // vector) if self.broadcast else self.out.place(self.elements // vector)
        index, column = f"const i8 k = q * {vector};", "int" if columns <= MOST_INT else "i8"
        if self.broadcast:
            index += f" const i8 i = k / {columns}; const {column} j = {column}(k - i * {columns}); (void)i; (void)j;"
        unrolled = f'_Pragma("unroll") for (int u = 0; u < {vector}; ++u) {{ (void)u;'
        lines = [*self.before, *self._accumulators()]
        lines.append(f"for (i8 q = i8(b) * {THREADS} + threadIdx.x; q < {count}; q += i8(nb) * {THREADS}) {{ {index}")
        lines += indented([*self.loads, unrolled if vector > 1 else "{ const int u = 0; (void)u;"])
        lines += [*indented(self.body, 2), *indented(["}", *self.stores]), "}"]
        for node in self.sums:
            kind, name = c_type(node.dtype), node.info[0]
            target = f"AT({kind}, {self.out.place(self.memory.at(node))})[b]"
            self.out.rooms.add(kind)
            lines.append(
                f"{{ const {kind} s = row_{name}<{THREADS}>(a{node.number}, room_{kind});"
                f" if (threadIdx.x == 0) {target} = s; }}"
            )
        wanted = min(-(-self.elements // (vector * THREADS)), MULTIPROCESSORS * 8)
        self.out.blocks = self.sums[0].shape[0] if self.sums else max(1, wanted)
        return lines

    # A pass that starts from sums: eight threads compute each sum, for 32 neighbours at a time, then one of them continues.

    def _finish(self) -> list[str]:
        lines = []
        self.count = self.out.place(self.elements)
        for node in self.finished:
            (partials,) = node.inputs
            kind, name, number = c_type(node.dtype), node.info, node.number
            lines_, pitch = self.out.place(partials.shape[0]), self.out.place(partials.shape[1])
            place = self.out.place(self.memory.at(partials))
            lines.append(
                f"{kind} v{number} = k < {self.count} ? finish_{name}<8>(AT(const {kind}, {place}) + k, "
                f"int(threadIdx.x >> 5), int({lines_}), {pitch}, {identity(node.info, kind)}) : {kind}();"
            )
            lines.append(f"v{number} = block_{name}(v{number}, room_{kind});")
            self.names[number] = f"v{number}"
        return lines

    def _after_sums(self, first: list[str]) -> list[str]:
        self.out.rooms |= {c_type(n.dtype) for n in self.finished}
        lines = [*self._accumulators(), *self.before]
        lines.append(
            f"for (i8 q = i8(b) * 32; q < {self.count}; q += i8(nb) * 32) {{ const i8 k = q + (threadIdx.x & 31);"
        )
        lines += indented([*first, f"if (threadIdx.x < 32 && k < {self.count}) {{ const int u = 0; (void)u;"])
        lines += [*indented([*self.loads, *self.body, *self.stores], 2), "  } }"]
        for node in self.sums:
            kind, name = c_type(node.dtype), node.info[0]
            target = f"AT({kind}, {self.out.place(self.memory.at(node))})[b]"
            lines.append(
                f"if (threadIdx.x < 32) {{ const {kind} s = warp_{name}<32>(a{node.number});"
                f" if (threadIdx.x == 0) {target} = s; }}"
            )
        wanted = min(-(-self.elements // 32), MULTIPROCESSORS * 8)
        self.out.blocks = self.sums[0].shape[0] if self.sums else max(1, wanted)
        return lines

    def _work_out_early(self) -> None:
        """Compute the single numbers that an early pass needs, from the step counter and the learning rate."""
        own, numbers = self.group.own, SingleNumbers(self.memory, self.before)
        for node in self.group.nodes:
            for operand in node.inputs:
                if operand.base.number not in own and is_single(operand):
                    self.names[operand.number] = numbers.name(operand)
