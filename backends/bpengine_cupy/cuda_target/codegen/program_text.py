"""The program's text: a kernel for each launch, and the calls of a step in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from bpengine_steps.ir import FusionGroup, StepNode, Untraceable
from bpengine_steps.ordering import PlanStage
from bpengine_steps.plan import ExecutionPlan

from bpengine_cupy.cuda_target.bfloat16 import COPY
from bpengine_cupy.cuda_target.codegen.columns import ACROSS, DOWN, ColumnsWriter
from bpengine_cupy.cuda_target.codegen.flat import FlatPass, FlatWriter
from bpengine_cupy.cuda_target.codegen.passes import MULTIPROCESSORS, THREADS, Names, computed, value
from bpengine_cupy.cuda_target.codegen.rows import RowsWriter
from bpengine_cupy.cuda_target.cublaslt.products import MatrixProduct, product_of
from bpengine_cupy.cuda_target.expressions import c_type, identity
from bpengine_cupy.cuda_target.pass_form import flat_call, form

SLOTS = 8  # the most arrays of rows, and of reports, in `struct Run`
# bytes of tables in constant memory, of which a module has 64 KiB; other tables are in the device's memory
CONSTANTS = 48 << 10
WORDS = (("q16", 16), ("u8", 8), ("u4", 4), ("u1", 1))


@dataclass(kw_only=True)
class StepCall:
    """One entry of a step: a kernel of the text, a matrix product, or a call `outside` of the program.

    `meets`: threads of a block synchronise.
    """

    name: str
    stage: PlanStage
    grid: tuple[int, int] = (1, 1)
    block: tuple[int, int] = (1, 1)
    product: MatrixProduct | None = None
    outside: StepNode | None = None
    meets: bool = False

    @property
    def beside(self) -> bool:
        """Whether the call may run on the second stream."""
        return self.stage.beside


@dataclass(frozen=True, eq=False)
class CudaText:
    """A plan written as CUDA C: the text, and its calls in order. It needs no device.

    `begin` is called once before a run, if the state or the rows have copies in bfloat16.
    """

    plan: ExecutionPlan
    source: str
    calls: list[StepCall]
    begin: StepCall | None = None


def write_cuda(plan: ExecutionPlan) -> CudaText:
    """Write a plan as CUDA C. Raises Untraceable for operations that the target does not support."""
    if len(plan.step.rows) > SLOTS or len(plan.step.reports) > SLOTS:
        raise Untraceable(f"a step with more than {SLOTS} arrays of rows or reports")
    writer = _SourceWriter(plan)
    pieces = [writer.launch(k, stage) for k, stage in enumerate(plan.stages)]
    begin = writer.begin()
    source = "\n".join(text for text, _ in [*pieces, begin] if text)
    return CudaText(plan, source, [call for _, call in pieces], begin[1])


def canonical(code: str) -> str:
    """Return the code with its names numbered by their order, so that equivalent passes have the same text."""
    seen: dict[str, str] = {}
    return re.sub(r"\b[rvwea]\d+\b", lambda m: seen.setdefault(m[0], f"{m[0][0]}_{len(seen)}"), code)


def words_of(size: int) -> tuple[str, int]:
    """Return the widest word that divides so many bytes, and the number of words."""
    return next((kind, size // width) for kind, width in WORDS if size % width == 0)


def _blocks(threads: int, most: int) -> int:
    return max(1, min(-(-threads // THREADS), MULTIPROCESSORS * most))


@dataclass
class _Segment:
    """Code with separate blocks inside a flat launch, numbered by `b` of `nb`."""

    blocks: int
    code: str


class _SourceWriter:
    def __init__(self, plan: ExecutionPlan) -> None:
        self.step, self.memory, self.ordered = plan.step, plan.memory, plan.ordered
        self._constants = 0  # bytes of constant memory used by tables

    def launch(self, number: int, stage: PlanStage) -> tuple[str, StepCall]:
        """Return a launch's text, empty for a product, and its call."""
        name = f"k{number}"
        if stage.product:
            node, *sides = stage.groups[0].nodes
            return "", StepCall(name=f"product{number}", stage=stage, product=product_of(node, self.memory, sides))
        if stage.groups and stage.groups[0].nodes and stage.groups[0].nodes[0].op == "outside":
            return "", StepCall(name=f"outside{number}", stage=stage, outside=stage.groups[0].nodes[0])
        if stage.head or flat_call(stage.groups):
            return self._flat_launch(name, number, stage)
        (group,) = stage.groups
        if form(group) == "rows":
            rows = RowsWriter(group, self.memory)
            text = self._kernel(name, rows.threads * rows.together, "BODY (void)step;\n  " + rows.write())
            return text, StepCall(name=name, stage=stage, grid=(rows.blocks, 1), block=rows.block, meets=True)
        columns = ColumnsWriter(group, self.memory)
        text = self._kernel(name, ACROSS * DOWN, "BODY (void)step;\n  " + columns.write())
        return text, StepCall(name=name, stage=stage, grid=columns.grid, block=(ACROSS, DOWN), meets=True)

    def begin(self) -> tuple[str, StepCall | None]:
        """Return the kernel that rounds the state, and constant rows, before a run, if anything is rounded."""
        inputs, rows = self.step.inputs, self.step.rounded_rows
        pairs = [(inputs[path[1:]], copy) for path, copy in inputs.items() if path[0] == COPY]
        pairs += [(self.step.rows[k], copy) for k, copy in rows.items() if not self.ordered]
        segments = []
        for exact, copy in pairs:
            places = f"AT(u2, {self.memory.at(copy)})[k] = m_bfloat16(AT(const f4, {self.memory.at(exact)})[k])"
            segments.append(_Segment(_blocks(copy.size, 4), f"{self._each(copy.size)} {places};"))
        if not segments:
            return "", None
        code, blocks = self._beside(segments)
        call = StepCall(name="begin", stage=PlanStage([]), grid=(blocks, 1), block=(THREADS, 1))
        return self._kernel("begin", THREADS, f"int b = blockIdx.x; (void)b;\n{code}"), call

    def _kernel(self, name: str, threads: int, body: str) -> str:
        return f"KERNEL({name}, {threads}, 1) {{ {body}\n}}"

    def _flat_launch(self, name: str, number: int, stage: PlanStage) -> tuple[str, StepCall]:
        segments = self._head() if stage.head else []
        tables, rooms = list[str](), set[str]()
        alike: dict[str, list[FlatPass]] = {}
        for group in stage.groups:
            if group.kind == "tail":
                segments.append(_Segment(1, self._tail(group)))
            elif group.kind == "copy":
                segments.append(self._copy(group))
            elif group.kind == "single":
                segments += self._concat(group)
            else:
                written = FlatWriter(group, self.memory, stage.head).write()
                alike.setdefault(canonical(written.code), []).append(written)
                rooms |= written.rooms
        for code, passes in alike.items():
            segments.append(self._shared(code, passes, f"T{number}_{len(segments)}", tables))
        code, start = self._beside(segments)
        # one buffer for all passes, of which a block runs one: separate buffers would soon exceed a block's limit
        shared = "".join(f"  __shared__ {kind} room_{kind}[{THREADS}];\n" for kind in sorted(rooms))
        body = f"{'HEAD' if stage.head else 'BODY'} (void)step; int b = blockIdx.x; (void)b;\n{shared}{code}"
        meets = any(word in code for word in ("row_", "block_", "warp_"))
        text = "".join(f"{table}\n" for table in tables) + self._kernel(name, THREADS, body)
        return text, StepCall(name=name, stage=stage, grid=(max(start, 1), 1), block=(THREADS, 1), meets=meets)

    def _beside(self, segments: Sequence[_Segment]) -> tuple[str, int]:
        """Return code in which each segment has separate blocks, and the number of all blocks."""
        lines, start = [], 0
        for k, segment in enumerate(segments):
            condition = f"b < {start + segment.blocks}" if k < len(segments) - 1 else "true"
            lines.append(
                f"  {'else ' if k else ''}if ({condition}) {{ b -= {start}; int nb = {segment.blocks}; (void)nb;"
                f"\n    {segment.code}\n  }}"
            )
            start += segment.blocks
        return "\n".join(lines), start

    def _shared(self, code: str, passes: Sequence[FlatPass], table: str, tables: list[str]) -> _Segment:
        """Write passes with equal code once, with a table of their places."""
        width = len(passes[0].places)
        if len(passes) == 1:
            for k in reversed(range(width)):
                code = code.replace(f"P{k}_", str(passes[0].places[k]))
            return _Segment(passes[0].blocks, code)
        start, rows = 0, []
        for each in passes:
            rows.append("{" + ", ".join(map(str, [start, each.blocks, *each.places])) + "}")
            start += each.blocks
        self._constants += 8 * len(rows) * (width + 2)
        where = "__constant__" if self._constants <= CONSTANTS else "__device__"
        tables.append(f"static {where} const i8 {table}[{len(rows)}][{width + 2}] = {{{', '.join(rows)}}};")
        for k in reversed(range(width)):
            code = code.replace(f"P{k}_", f"p[{k + 2}]")
        pick = f"int s = 0; while (s + 1 < {len(rows)} && b >= {table}[s + 1][0]) ++s; "
        pick += f"const i8* p = {table}[s]; b -= int(p[0]); nb = int(p[1]);"
        return _Segment(start, f"{pick}\n    {code}")

    def _head(self) -> list[_Segment]:
        """Write the head: it gathers the step's rows, reads its learning rate and its number."""
        segments = []
        for k, node in enumerate(self.step.rows if self.ordered else ()):
            copy = self.step.rounded_rows.get(k)
            if not node.size:  # for a process whose shards have no rows
                continue
            if node.number in self.memory.stored:
                kind, words = words_of(node.size // node.shape[0] * node.dtype.itemsize)
                segments.append(self._taken("take_rows", kind, kind, node, k, words))
            if copy is not None:
                segments.append(self._taken("take_rounded_rows", "u2", "f4", copy, k, copy.size // copy.shape[0]))
        rate = self.step.rate
        kind = c_type(rate.dtype)
        take = f"AT({kind}, {self.memory.at(rate)})[0] = ((const {kind}*)run->lr)[step]"
        code = f"if (threadIdx.x == 0) {{ run->now = step; run->live = live; if (live) {take}; }}"
        return [*segments, _Segment(1, code)]

    def _taken(self, function: str, kind: str, source: str, node: StepNode, k: int, words: int) -> _Segment:
        """Gather the step's rows from array `k` of the run, `words` to a row."""
        where = f"i8(b) * {THREADS} + threadIdx.x, i8(nb) * {THREADS}"
        take = f"{function}(AT({kind}, {self.memory.at(node)}), (const {source}*)run->data[{k}], (const i4*)run->order"
        code = f"if (live) {take}, step, {node.shape[0]}, {words}, {where});"
        return _Segment(_blocks(node.shape[0] * words, 4), code)

    def _copy(self, group: FusionGroup) -> _Segment:
        """Copy a new state over the old one."""
        (node,), old = group.nodes, group.replaced
        assert old is not None  # a copy has one
        kind, words = words_of(node.size * node.dtype.itemsize)
        places = f"AT({kind}, {self.memory.at(old)})[k] = AT({kind}, {self.memory.at(node)})[k]"
        return _Segment(_blocks(words, 4), f"{self._each(words)} {places};")

    def _concat(self, group: FusionGroup) -> list[_Segment]:
        (node,) = group.nodes
        kind, target, segments = c_type(node.dtype), self.memory.at(node), []
        pitch = prod(node.shape[node.info :])
        for part in node.inputs:
            width = prod(part.shape[node.info :])
            places = (
                f"AT({kind}, {target})[k / {width} * {pitch} + k % {width}] = AT({kind}, {self.memory.at(part)})[k]"
            )
            segments.append(_Segment(_blocks(part.size, 2), f"{self._each(part.size)} {places};"))
            target += width * node.dtype.itemsize
        return segments

    def _each(self, count: int) -> str:
        return f"for (i8 k = i8(b) * {THREADS} + threadIdx.x; k < {count}; k += i8(nb) * {THREADS})"

    def _tail(self, group: FusionGroup) -> str:
        """Write the tail: numbers that only reports need, and the step's end, in one warp whose first thread stores."""
        names: Names = {}
        loaded = {
            i.number: i for n in group.nodes for i in n.inputs if i.base.number not in group.own and n.op != "finish"
        }
        loaded |= {n.number: n for n in group.loaded}
        lines = []
        for number, node in loaded.items():
            if node.uniform is None:
                kind = c_type(node.dtype)
                lines.append(f"const {kind} r{number} = AT(const {kind}, {self.memory.at(node)})[0];")
                names[number] = f"r{number}"
        for node in group.nodes:
            if node.op == "finish":
                lines += self._tail_sum(node)
            else:
                lines.append(f"const {c_type(node.dtype)} v{node.number} = {computed(node, names)};")
            names[node.number] = f"v{node.number}"
        writes = [
            f"(({c_type(n.dtype)}*)run->report[{k}])[step] = {value(n, names)};"
            for k, n in enumerate(self.step.reports.values())
        ]
        halt = self.step.reports.get("halt")
        end = f"run->next = step + 1; if ({value(halt, names) if halt else 'false'}) run->stop = 1;"
        inner = "\n      ".join([*writes, end])
        return "\n    ".join(["if (threadIdx.x < 32) {", *lines, f"if (threadIdx.x == 0) {{\n      {inner}\n    }} }}"])

    def _tail_sum(self, node: StepNode) -> list[str]:
        (summed,) = node.inputs
        kind, name, number = c_type(node.dtype), node.info, node.number
        summand = f"AT(const {kind}, {self.memory.at(summed)})[s]"
        return [
            f"{kind} v{number} = {identity(node.info, kind)};",
            f"for (int s = threadIdx.x; s < {summed.size}; s += 32) v{number} = {name}(v{number}, {summand});",
            f"v{number} = warp_{name}<32>(v{number});",
        ]
