"""Instructions for all elements of a row at once, as vectors of LLVM's; and reductions of a row in NumPy's order.

A vector instruction computes each element like the scalar instruction, so the bits are those of `expressions`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from bpengine_numpy.llvm_target.rows.row_width import LANES

_TOKENS = re.compile(r"@llvm\.[\w.]+|%[\w.]+|-?0x[0-9A-F]+|-?\d+(?:\.\d+)?|\w+|\s+|[^\w\s]")
_TYPE, _LITERAL = re.compile(r"float|double|i\d+"), re.compile(r"-?0x[0-9A-F]+|-?\d+(?:\.\d+)?|true|false")
_NUMPYS = """
; NumPy's own loop: which of 0 and -0 is the largest, and which NaN comes out, depends on its order
define internal {t} @numpys_{t}(ptr %loop, ptr %context, ptr %auxiliary, ptr %row) noinline {{
  %out = alloca {t}
  %room = alloca [7 x i64]
  %first = load {t}, ptr %row
  store {t} %first, ptr %out
  %second = getelementptr {t}, ptr %row, i64 1
  %dims = getelementptr i64, ptr %room, i64 3
  %steps = getelementptr i64, ptr %room, i64 4
  %source = getelementptr i64, ptr %room, i64 1
  %target = getelementptr i64, ptr %room, i64 2
  %step = getelementptr i64, ptr %room, i64 5
  %last = getelementptr i64, ptr %room, i64 6
  store ptr %out, ptr %room
  store ptr %second, ptr %source
  store ptr %out, ptr %target
  store i64 {others}, ptr %dims
  store i64 0, ptr %steps
  store i64 {size}, ptr %step
  store i64 0, ptr %last
  %ignored = call i32 %loop(ptr %context, ptr %room, ptr %dims, ptr %steps, ptr %auxiliary)
  %result = load {t}, ptr %out
  ret {t} %result
}}
"""


def vector(kind: str, width: int) -> str:
    """Return the type of a row of elements."""
    return f"<{width} x {kind}>"


def vectored(instruction: str, width: int, single: Collection[str]) -> str:
    """Return an instruction for all elements of a row; `single` numbers are equal for all elements (see `repeated`)."""
    kind, out = "", []
    for token in _TOKENS.findall(instruction):
        if _TYPE.fullmatch(token):
            kind = token
            out.append(vector(kind, width))
        elif _LITERAL.fullmatch(token):
            out.append(f"splat ({kind} {token})")
        elif token.startswith("@"):
            out.append(re.sub(r"\.f(32|64)$", rf".v{width}f\1", token))
        else:
            out.append(f"{token}.wide" if token in single else token)
    return "".join(out)


def repeated(name: str, kind: str, width: int) -> list[str]:
    """Return the instructions that broadcast a number to a row, NAME.wide."""
    row = vector(kind, width)
    return [
        f"{name}.head = insertelement {row} poison, {kind} {name}, i64 0",
        f"{name}.wide = shufflevector {row} {name}.head, {row} poison, <{width} x i32> zeroinitializer",
    ]


def intrinsics(width: int) -> str:
    """Return the declarations of the functions that `vectored` calls."""
    types = ((name, kind, bits) for name in ("fabs", "sqrt") for kind, bits in (("float", 32), ("double", 64)))
    return "".join(
        f"declare {vector(kind, width)} @llvm.{name}.v{width}f{bits}({vector(kind, width)})\n"
        for name, kind, bits in types
    )


def row_sum(name: str, value: str, kind: str, width: int) -> list[str]:
    """Return the instructions that sum a row in NumPy's pairwise order (numpy/_core/src/umath/loops_utils.h.src).

    Eight sums, each of every eighth element, are added in pairs, then the remaining elements one by one; fewer than eight
    elements are added one by one to -0.
    """
    whole, lines, total = width // LANES * LANES, list[str](), "-0.0"
    if whole:
        lines.append(_some(f"{name}.s0", value, kind, width, range(LANES)))
        total = f"{name}.s0"
        for begin in range(LANES, whole, LANES):
            block, summed = f"{name}.b{begin}", f"{name}.s{begin}"
            lines.append(_some(block, value, kind, width, range(begin, begin + LANES)))
            lines.append(f"{summed} = fadd {vector(kind, LANES)} {total}, {block}")
            total = summed
        count = LANES
        while count > 1:
            half = count // 2
            even, odd, pairs = (f"{name}.{part}{half}" for part in ("even", "odd", "pairs"))
            lines.append(_some(even, total, kind, count, range(0, count, 2)))
            lines.append(_some(odd, total, kind, count, range(1, count, 2)))
            lines.append(f"{pairs} = fadd {vector(kind, half)} {even}, {odd}")
            total, count = pairs, half
        lines.append(f"{name}.lanes = extractelement {vector(kind, 1)} {total}, i64 0")
        total = f"{name}.lanes"
    for k in range(whole, width):
        lines.append(f"{name}.e{k} = extractelement {vector(kind, width)} {value}, i64 {k}")
        lines.append(f"{name}.t{k} = fadd {kind} {total}, {name}.e{k}")
        total = f"{name}.t{k}"
    return [*lines, f"{name} = fadd {kind} {total}, 0.0"]


def row_maximum(name: str, value: str, kind: str, width: int, *, loop: str, room: str, size: int) -> list[str]:
    """Return the instructions for the largest element of a row; NumPy's loop, LOOP.loop, is called if it is 0 or NaN occurs.

    For that call the row is written to `room`.
    """
    lines, most = _largest(name, value, kind, width)
    label, row = name[1:], vector(kind, width)
    return [
        *lines,
        f"{name}.nans = fcmp uno {row} {value}, {value}",
        f"{name}.bits = bitcast {vector('i1', width)} {name}.nans to i{width}",
        f"{name}.nan = icmp ne i{width} {name}.bits, 0",
        f"{name}.zero = fcmp oeq {kind} {most}, 0.0",
        f"{name}.doubtful = or i1 {name}.nan, {name}.zero",
        f"br label %{label}.check",
        f"{label}.check:",
        f"br i1 {name}.doubtful, label %{label}.numpys, label %{label}.known",
        f"{label}.numpys:",
        f"store {row} {value}, ptr {room}, align {size}",
        f"{name}.own = call {kind} @numpys_{kind}(ptr {loop}.loop, ptr {loop}.context, ptr {loop}.auxiliary, ptr {room})",
        f"br label %{label}.known",
        f"{label}.known:",
        f"{name} = phi {kind} [ {most}, %{label}.check ], [ {name}.own, %{label}.numpys ]",
    ]


def numpys(kind: str, width: int, size: int) -> str:
    """Return the function that `row_maximum` calls where the result depends on NumPy's order."""
    return _NUMPYS.format(t=kind, others=width - 1, size=size)


def _largest(name: str, value: str, kind: str, width: int) -> tuple[list[str], str]:
    """Return the instructions that compare all elements, some of them twice, and the name of the largest."""
    lines, count = list[str](), 1 << (min(width, LANES).bit_length() - 1)
    begins = [min(begin, width - count) for begin in range(0, width, count)]
    lines = [_some(f"{name}.x{begin}", value, kind, width, range(begin, begin + count)) for begin in begins]
    most = f"{name}.x{begins[0]}"
    for begin in begins[1:]:
        most = _larger(lines, f"{name}.m{begin}", f"{name}.x{begin}", most, vector(kind, count), count)
    while count > 1:
        half = count // 2
        high, low = f"{name}.high{half}", f"{name}.low{half}"
        lines.append(_some(high, most, kind, count, range(half, count)))
        lines.append(_some(low, most, kind, count, range(half)))
        most, count = _larger(lines, f"{name}.half{half}", high, low, vector(kind, half), half), half
    lines.append(f"{name}.most = extractelement {vector(kind, 1)} {most}, i64 0")
    return lines, f"{name}.most"


def _larger(lines: list[str], name: str, a: str, b: str, row: str, count: int) -> str:
    lines.append(f"{name}.more = fcmp ogt {row} {a}, {b}")
    lines.append(f"{name} = select {vector('i1', count)} {name}.more, {row} {a}, {row} {b}")
    return name


def _some(name: str, value: str, kind: str, width: int, places: Iterable[int]) -> str:
    """Return the instruction that selects some elements of a row."""
    chosen = ", ".join(f"i32 {place}" for place in places)
    count, row = chosen.count(",") + 1, vector(kind, width)
    return f"{name} = shufflevector {row} {value}, {row} poison, <{count} x i32> <{chosen}>"
