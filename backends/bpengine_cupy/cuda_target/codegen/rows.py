"""The pass over whole rows: threads hold a row from its first use to its last, with reductions over it in between.

A phase is the part of the pass between two reductions. All threads of a block run the loop over rows equally often (`ok`
says which have a row), because shuffles and barriers need the whole warp or block.
"""

from __future__ import annotations

from bpengine_steps.access import COLUMN, FULL, ONE, AccessPattern, access
from bpengine_steps.ir import FusionGroup, StepNode, Untraceable, axes
from bpengine_steps.memory_plan import MemoryPlan

from bpengine_cupy.cuda_target.codegen.passes import (
    APART,
    MULTIPROCESSORS,
    THREADS,
    Names,
    accumulated,
    computed,
    dot,
    indented,
)
from bpengine_cupy.cuda_target.expressions import c_type, identity

WIDEST = 8192  # the most numbers of a row: 1024 threads with 8 each


def threads_of_row(columns: int) -> int:
    """Return how many threads hold a row; raise Untraceable for rows that do not fit a block."""
    if columns > WIDEST:
        raise Untraceable(f"rows of {columns} numbers")
    few = (t for t in (4, 8, 16, 32) if columns <= t)
    many = (t for t in (32, 128, 256, 512, 1024) if columns <= 8 * t)
    return next(few, None) or next(many)


def flat_like(node: StepNode) -> bool:
    """Tell whether the node has one number for each row, or only one."""
    return len(axes(node.shape)) < 2


def _place(node: StepNode) -> tuple[str, str]:
    """Return where the number of row i is in an array of one column, or of one row."""
    return ("i", "0") if node.shape[1] == 1 else ("0", "i")


class RowsWriter:
    """Writes one pass over (rows, columns) that handles whole rows."""

    def __init__(self, group: FusionGroup, memory: MemoryPlan) -> None:
        self.group, self.memory = group, memory
        self.rows, self.columns = group.shape
        self.threads = threads_of_row(self.columns)
        self.each = -(-self.columns // self.threads)  # numbers of a row that a thread holds
        self.together = max(1, THREADS // self.threads) if self.threads <= 32 else 1  # rows of a block at a time
        self.sums = [n for n in group.nodes if n.op == "partial"]
        wanted = max(1, min(-(-self.rows // self.together), MULTIPROCESSORS * 8))
        self.blocks = self.sums[0].shape[0] if self.sums else wanted
        self.full = {n.number for n in group.nodes if n.op in ("ufunc", "dot") and not flat_like(n)}
        self.phase = self._phases()
        self.reads, self.first_use = self._reads()
        self.names: Names = {}
        self.before: list[str] = []
        for number, (node, how) in self.reads.items():
            self.names[number] = f"r{number}" if how in (ONE, COLUMN) else f"r{number}[u]"
            if how == ONE:
                kind = c_type(node.dtype)
                self.before.append(f"const {kind} r{number} = AT(const {kind}, {memory.at(node)})[0];")
        for node in group.nodes:
            if node.op != "partial":
                self.names[node.number] = f"v{node.number}[u]" if node.number in self.full else f"v{node.number}"

    @property
    def block(self) -> tuple[int, int]:
        """Threads of a row, and rows of a block."""
        return self.threads, self.together

    def _phases(self) -> dict[int, int]:
        phase: dict[int, int] = {}
        for node in self.group.nodes:
            inputs = [i.base for i in node.inputs if i.base.number in phase]
            phase[node.number] = max((phase[i.number] + (i.op == "reduce") for i in inputs), default=0)
        return phase

    def _reads(self) -> tuple[dict[int, tuple[StepNode, AccessPattern]], dict[int, int]]:
        own, patterns, first = self.group.own, dict[int, tuple[StepNode, AccessPattern]](), dict[int, int]()
        for node in self.group.nodes:
            for operand in node.inputs:
                if operand.base.number in own or operand.uniform is not None or node.op in APART:
                    continue
                how = self._access(node, operand)
                if patterns.setdefault(operand.number, (operand, how))[1] != how:
                    raise Untraceable("an array read in two ways by one pass over rows")
                first[operand.number] = min(first.get(operand.number, len(self.phase)), self.phase[node.number])
        return patterns, first

    def _access(self, node: StepNode, operand: StepNode) -> AccessPattern:
        two = node.number in self.full or node.op == "reduce" or (node.op == "partial" and not flat_like(operand.base))
        if two:
            return access(operand, node.shape) if node.op == "ufunc" else FULL
        how = access(operand, node.shape)
        return COLUMN if how == FULL else how

    def write(self) -> str:
        """Return the kernel's body."""
        lines = [line for phase in range(max(self.phase.values()) + 1) for line in self._phase(phase)]
        chunk = -(-self.rows // self.blocks)
        kinds = sorted({c_type(n.dtype) for n in self.group.nodes if n.op in ("reduce", "partial")})
        out = [f"__shared__ {kind} room_{kind}[32];" for kind in kinds]
        out += self._buffers()
        out.append(
            f"const int lane = threadIdx.x; const i8 begin = i8(blockIdx.x) * {chunk}, "
            f"end = begin + {chunk} < {self.rows} ? begin + {chunk} : {self.rows};"
        )
        out += [self._accumulator(node) for node in self.sums] + self.before
        out.append(
            f"for (i8 q = begin; q < end; q += {self.together}) {{ "
            "const i8 i = q + threadIdx.y; const bool ok = i < end; (void)ok; (void)lane;"
        )
        out += [*indented(lines), "}"]
        return "\n  ".join(out + [line for node in self.sums for line in self._meet(node)])

    def _buffers(self) -> list[str]:
        """Declare the buffers of a block, one of each type, which its sums over rows use one after the other."""
        wide = {c_type(n.dtype): self.columns for n in self.sums if n.info[1] == "first"}
        sizes = {c_type(n.dtype): 1 for n in self.sums} | wide
        return [
            f"__shared__ {kind} s_{kind}[{self.together * size}];" for kind, size in sizes.items() if self.together > 1
        ]

    def _accumulator(self, node: StepNode) -> str:
        kind = c_type(node.dtype)
        if node.info[1] != "first":
            return f"{kind} a{node.number} = {identity(node.info[0], kind)};"
        if node.info[0] != "add":
            raise Untraceable("extremes of columns in a pass over rows")
        return f"{kind} a{node.number}[{self.each}] = {{}};"

    def _phase(self, phase: int) -> list[str]:
        here = [n for n in self.group.nodes if self.phase[n.number] == phase]
        arriving = [entry for number, entry in self.reads.items() if self.first_use[number] == phase]
        lines = [self._column(node) for node, how in arriving if how == COLUMN]
        for node in here:
            lines += self._number_of_row(node)
        inner = []
        for node, how in arriving:
            if how not in (ONE, COLUMN):
                lines.append(f"{c_type(node.dtype)} r{node.number}[{self.each}];")
                inner.append(self._element(node, how))
        reductions = [n for n in here if n.op == "reduce"]
        lines += [f"{c_type(n.dtype)} v{n.number} = {identity(n.info[0], c_type(n.dtype))};" for n in reductions]
        for node in here:
            if node.number in self.full:
                lines.append(f"{c_type(node.dtype)} v{node.number}[{self.each}];")
            inner += self._number_of_element(node)
        if inner:
            lines.append(
                f'_Pragma("unroll") for (int u = 0; u < {self.each}; ++u) {{ '
                f"const int j = lane + {self.threads} * u; if (ok && j < {self.columns}) {{"
            )
            lines += [*indented(inner), "} }"]
        for node in reductions:
            kind = c_type(node.dtype)
            reducer = f"row_{node.info[0]}<{self.threads}>"
            lines.append(f"v{node.number} = {reducer}(v{node.number}, room_{kind});")
            lines += self._stored(node)
        return lines

    def _column(self, node: StepNode) -> str:
        kind = c_type(node.dtype)
        return f"const {kind} r{node.number} = ok ? AT(const {kind}, {self.memory.at(node)})[i] : {kind}();"

    def _element(self, node: StepNode, how: AccessPattern) -> str:
        place = {"full": f"i * {self.columns} + j", "row": "j"}.get(how.name, f"i * {how.down} + i8(j) * {how.along}")
        return f"r{node.number}[u] = AT(const {c_type(node.dtype)}, {self.memory.at(node)})[{place}];"

    def _stored(self, node: StepNode) -> list[str]:
        if node.number not in self.memory.stored:
            return []
        return [f"if (ok && lane == 0) AT({c_type(node.dtype)}, {self.memory.at(node)})[i] = v{node.number};"]

    def _number_of_row(self, node: StepNode) -> list[str]:
        """Write a node with one number for each row."""
        kind, number = c_type(node.dtype), node.number
        if node.op == "finish":
            (partials,) = node.inputs
            finish = f"finish_{node.info}<1>(AT(const {kind}, {self.memory.at(partials)}) + i, 0, "
            finish += f"{partials.shape[0]}, {partials.shape[1]}, {identity(node.info, kind)})"
            return [f"const {kind} v{number} = ok ? {finish} : {kind}();", *self._stored(node)]
        if node.op == "dot" and number not in self.full:
            return [
                f"const {kind} v{number} = ok ? {dot(node, self.memory.at, *_place(node))} : {kind}();",
                *self._stored(node),
            ]
        if node.op == "ufunc" and number not in self.full:
            return [f"const {kind} v{number} = {computed(node, self.names)};", *self._stored(node)]
        if node.op == "partial" and node.info[1] == "all" and flat_like(node.inputs[0].base):
            return [f"if (ok && lane == 0) {accumulated(f'a{number}', node, self.names)}"]
        return []

    def _number_of_element(self, node: StepNode) -> list[str]:
        """Write a node with a number for each element of the row."""
        number = node.number
        if number in self.full:
            value = dot(node, self.memory.at, "i", "j") if node.op == "dot" else computed(node, self.names)
            lines = [f"v{number}[u] = {value};"]
            if number in self.memory.stored:
                target = f"AT({c_type(node.dtype)}, {self.memory.at(node)})[i * {self.columns} + j]"
                lines.append(f"{target} = v{number}[u];")
            return lines
        if node.op == "reduce":
            return [accumulated(f"v{number}", node, self.names)]
        if node.op == "partial" and node.info[1] == "first":
            return [accumulated(f"a{number}[u]", node, self.names)]
        if node.op == "partial" and not flat_like(node.inputs[0].base):
            return [accumulated(f"a{number}", node, self.names)]
        return []

    def _meet(self, node: StepNode) -> list[str]:
        """Write a block's line of a partial sum: the sum of its threads' values in a fixed order."""
        kind, number, place = c_type(node.dtype), node.number, self.memory.at(node)
        threads, together, columns = self.threads, self.together, self.columns
        mine = f"for (int u = 0; u < {self.each}; ++u) if (lane + {threads} * u < {columns})"
        column = f"lane + {threads} * u"
        if node.info[1] == "first" and together == 1:
            return [f"{mine} AT({kind}, {place})[i8(blockIdx.x) * {columns} + {column}] = a{number}[u];"]
        if node.info[1] == "first":
            return [
                "__syncthreads();",
                f"{mine} s_{kind}[threadIdx.y * {columns} + {column}] = a{number}[u];",
                "__syncthreads();",
                f"for (int j = threadIdx.y * {threads} + lane; j < {columns}; j += {together * threads}) {{ "
                f"{kind} c = s_{kind}[j]; for (int y = 1; y < {together}; ++y) c += s_{kind}[y * {columns} + j]; "
                f"AT({kind}, {place})[i8(blockIdx.x) * {columns} + j] = c; }}",
            ]
        name = node.info[0]
        first = f"{{ {kind} c = row_{name}<{threads}>(a{number}, room_{kind});"
        if together == 1:
            return [f"{first} if (lane == 0) AT({kind}, {place})[blockIdx.x] = c; }}"]
        return [
            f"{first} __syncthreads(); if (lane == 0) s_{kind}[threadIdx.y] = c; __syncthreads();",
            f"  if (lane == 0 && threadIdx.y == 0) {{ for (int y = 1; y < {together}; ++y) c = {name}(c, s_{kind}[y]); "
            f"AT({kind}, {place})[blockIdx.x] = c; }} }}",
        ]
