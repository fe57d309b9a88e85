"""A step's CUDA program for reading: each call with its bytes, operations and resources, and the source text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Final

from bpengine_steps.ir import FusionGroup, StepNode

from bpengine.backend import ProgramCall, ProgramListing
from bpengine_cupy.cuda_target.codegen.program_text import CudaText, StepCall
from bpengine_cupy.cuda_target.compiler import CudaCompileError, Resources, compile_cuda, full_source, resources
from bpengine_cupy.cuda_target.pass_form import flat_call, form

# An H200: bytes a second of its memory, operations a second of its products (float64: tensor cores).
# Source: NVIDIA, "NVIDIA H200 Tensor Core GPU", data sheet.
BANDWIDTH: Final = 4.8e12
RATES: Final = {"f4": 67e12, "f8": 67e12}


@dataclass(frozen=True)
class _Unknown:
    """Unknown resources of a kernel; see `Resources`."""

    registers: None = None
    shared: None = None
    spilled: None = None


NOTHING: Final = _Unknown()


def listing(text: CudaText, arch: int = 90) -> ProgramListing:
    """Return a program for reading; registers by NVRTC for `arch` (90 is Hopper), where NVRTC is installed."""
    try:
        log = compile_cuda(text.source, arch)[1]
        by_kernel: dict[str, Resources] = resources(log)
        note = f"Registers are those of NVRTC for sm_{arch}."
    except (ImportError, CudaCompileError) as error:
        by_kernel, note = {}, f"Registers are left out: NVRTC does not compile here ({str(error).splitlines()[0]})."
    calls = tuple(_call(text, call, by_kernel.get(call.name, NOTHING)) for call in text.calls)
    notes = (
        f"Least times: those of an H200 by its data sheet, {BANDWIDTH / 1e12:g} TB/s and {RATES['f4'] / 1e12:g} TFLOP/s. What "
        "stays in the L2 cache moves faster; a launch takes about 2 us by itself.",
        note,
        f"The program's arrays take {text.plan.memory.size:,} bytes.",
    )
    return ProgramListing(calls=calls, source=full_source(text.source), notes=notes)


def _call(text: CudaText, call: StepCall, taken: Resources | _Unknown) -> ProgramCall:
    groups = call.stage.groups
    moved = sum(_reads(text, groups).values()) + sum(_writes(text, groups).values())
    rate = BANDWIDTH if call.product is None else RATES[call.product.dtype]
    operations = sum(_operations(node) for group in groups for node in group.nodes if group.kind != "copy")
    least = max(moved / BANDWIDTH, operations / rate if call.product else 0.0)
    if call.stage.head:
        moved += sum(2 * node.size * node.dtype.itemsize for node in text.plan.step.rows if text.plan.ordered)
        least = moved / BANDWIDTH
    size = (prod(call.grid), prod(call.block)) if call.product is None else (None, None)
    return ProgramCall(
        name=call.name, form=_form(call), work=_work(call), blocks=size[0], threads=size[1], bytes=moved,
        operations=operations, seconds=least, registers=taken.registers, shared=taken.shared,
        spilled=taken.spilled,
    )  # fmt: skip


def _form(call: StepCall) -> str:
    """Return the kind of a call: one of the three forms of a pass, a product, or the step's beginning or end."""
    groups = call.stage.groups
    if call.product is not None:
        return "product, beside" if call.beside else "product"
    if call.stage.head:
        return "head"
    if call.outside is not None:
        return "outside"
    if any(group.kind == "tail" for group in groups):
        return "tail"
    return "flat" if flat_call(groups) else form(groups[0])


def _work(call: StepCall) -> str:
    """Describe a call in a few words."""
    if call.product is not None:
        shape = call.product
        forms = "".join("t" if operand.transposed else "n" for operand in (shape.b, shape.a))
        besides = f", {shape.epilogue.name}" if shape.epilogue else ""
        return f"({shape.n} x {shape.k}) ({shape.k} x {shape.m}), {forms}{besides}"
    counts: dict[str, int] = {}
    for node in (node for group in call.stage.groups for node in group.nodes if group.kind != "copy"):
        name = str(node.info if node.op == "ufunc" else f"{node.op} {_reduction(node)}".strip())
        counts[name] = counts.get(name, 0) + 1
    copies = sum(group.kind == "copy" for group in call.stage.groups)
    words = [name if count == 1 else f"{count} {name}" for name, count in counts.items()]
    if copies:
        words.append(f"{copies} copied")
    shapes = {"x".join(map(str, group.shape)) for group in call.stage.groups if group.kind == "pass"}
    over = f"over {', '.join(sorted(shapes))}: " if shapes else ""
    return over + ", ".join(words) if words else "the step's rows and rate"


def _reduction(node: StepNode) -> str:
    return str(node.info[0] if node.op in ("reduce", "partial") else node.info if node.op == "finish" else "")


def _operations(node: StepNode) -> int:
    """Return the arithmetic operations of a node: two for each term of a product, one for each element otherwise."""
    if node.op in ("matmul", "dot"):
        return 2 * node.size * node.inputs[0].shape[-1]
    if node.op in ("reduce", "partial", "finish"):
        return node.inputs[0].size
    return node.size if node.op == "ufunc" and node.info != "cast" else 0


def _reads(text: CudaText, groups: Iterable[FusionGroup]) -> dict[int, int]:
    """Return the bytes of each array in memory that these groups read and do not compute."""
    groups = list(groups)
    own = set().union(*(group.own for group in groups)) if groups else set()
    return {
        base.number: min(node.size, base.size) * base.dtype.itemsize
        for group in groups
        for node in group.reads
        if (base := node.base).number not in own and base.uniform is None
    }


def _writes(text: CudaText, groups: Iterable[FusionGroup]) -> dict[int, int]:
    """Return the bytes of each array that these groups store in memory."""
    return {node.number: node.size * node.dtype.itemsize for node in _stored(text, groups)}


def _stored(text: CudaText, groups: Iterable[FusionGroup]) -> Iterator[StepNode]:
    for group in groups:
        if group.kind == "copy" and group.replaced is not None:
            yield group.replaced
        else:
            yield from (node for node in group.nodes if node.number in text.plan.memory.places)
