"""The pass that sums columns: blocks of columns by blocks of rows, with the sums over the rows accumulated in the pass."""

from __future__ import annotations

from bpengine_steps.access import AccessPattern
from bpengine_steps.ir import FusionGroup, StepNode, Untraceable
from bpengine_steps.memory_plan import MemoryPlan

from bpengine_cupy.cuda_target.codegen.passes import (
    Names,
    accumulated,
    declared,
    dot,
    indented,
    load,
    operands,
    vector_length,
)
from bpengine_cupy.cuda_target.expressions import c_type

ACROSS, DOWN = 32, 8  # threads of a block


class ColumnsWriter:
    """Writes one pass over (rows, columns) with sums over the rows; block (x, y) has the x-th columns of the y-th rows."""

    def __init__(self, group: FusionGroup, memory: MemoryPlan) -> None:
        self.group, self.memory = group, memory
        self.rows, self.columns = group.shape
        self.sums = [n for n in group.nodes if n.op == "partial"]
        if any(n.info != ("add", "first") for n in self.sums):
            raise Untraceable("extremes of columns, or one number of all, in a pass that sums columns")
        if self.columns >= 2**31:
            raise Untraceable(f"sums of {self.columns} columns")
        read, dots = list(operands(group).values()), any(n.op == "dot" for n in group.nodes)
        self.vector = vector_length(
            group, read, memory.stored, lambda n: not (dots or self.columns % n) and self.columns >= 32 * n
        )
        self.names: Names = {}
        self.before: list[str] = []
        self.loads: list[str] = []
        for node, how in read:
            self._read(node, how)

    @property
    def grid(self) -> tuple[int, int]:
        """Numbers of blocks across and down: a line of partial sums for each of the latter."""
        return -(-self.columns // (ACROSS * self.vector)), self.sums[0].shape[0]

    def _read(self, node: StepNode, how: AccessPattern) -> None:
        pointer = f"AT(const {c_type(node.dtype)}, {self.memory.at(node)})"
        read = load(node, how, self.vector, pointer)
        self.names[node.number] = read.name
        (self.before if read.early else self.loads).append(read.line)

    def write(self) -> str:
        """Return the kernel's body."""
        body, stores = [], []
        for node in self.group.nodes:
            if node.op == "partial":
                body.append(accumulated(f"a{node.number}[u]", node, self.names))
                continue
            product = dot(node, self.memory.at, "i", "j") if node.op == "dot" else ""
            body.append(declared(node, self.names, product))
            if node.number in self.memory.stored:
                kind, number = c_type(node.dtype), node.number
                self.loads.append(f"Vec<{kind}, {self.vector}> w{number};")
                body.append(f"w{number}.v[u] = v{number};")
                stores.append(f"store<{kind}, {self.vector}>(AT({kind}, {self.memory.at(node)}) + k, w{number});")
        chunk, columns, vector = -(-self.rows // self.grid[1]), self.columns, self.vector
        lines = [
            f"const int j = (blockIdx.x * {ACROSS} + threadIdx.x) * {vector};",
            f"const i8 begin = i8(blockIdx.y) * {chunk}, end = begin + {chunk} < {self.rows} ? begin + {chunk} : {self.rows};",
            *(f"{c_type(n.dtype)} a{n.number}[{vector}] = {{}};" for n in self.sums),
            *self.before,
            f"if (j < {columns}) for (i8 i = begin + threadIdx.y; i < end; i += {DOWN}) {{",
            f"  const i8 k = i * {columns} + j; (void)k;",
            *indented([*self.loads, f'_Pragma("unroll") for (int u = 0; u < {vector}; ++u) {{']),
            *indented(body, 2),
            *indented(["}", *stores]),
            "}",
        ]
        return "\n  ".join([*lines, *self._meet()])

    def _meet(self) -> list[str]:
        """Sum the values of the threads of a column, in a fixed order."""
        vector, lines = self.vector, []
        kinds = sorted({c_type(n.dtype) for n in self.sums})
        lines += [f"__shared__ {kind} room_{kind}[{DOWN}][{ACROSS * vector}];" for kind in kinds]
        for node in self.sums:
            kind, number = c_type(node.dtype), node.number
            slot = f"threadIdx.x + {ACROSS} * u"
            lines.append(
                f"__syncthreads(); for (int u = 0; u < {vector}; ++u) room_{kind}[threadIdx.y][{slot}] = a{number}[u];"
                " __syncthreads();"
            )
            lines.append(
                f"if (threadIdx.y == 0 && j < {self.columns}) for (int u = 0; u < {vector}; ++u) {{ "
                f"{kind} s = room_{kind}[0][{slot}]; for (int y = 1; y < {DOWN}; ++y) s += room_{kind}[y][{slot}]; "
                f"AT({kind}, {self.memory.at(node)})[i8(blockIdx.y) * {self.columns} + j + u] = s; }}"
            )
        return lines
