"""exp of float32 numbers as NumPy's vectorised loop computes it, where a test shows its bits.

The reduced argument r = x - q log 2, q = round(x / log 2), then a quotient of polynomials in r, times 2^q.
Source: numpy/_core/src/umath/loops_exponent_log.dispatch.c.src, simd_exp_FLOAT. Only results that are surely normal
numbers are computed here; a vector with any other is left to NumPy's loop, with the flags that it sets.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache

import numpy as np
import numpy.typing as npt
from bpengine_steps.ir import HostArray

from bpengine_numpy.llvm_target.expressions import hexadecimal
from bpengine_numpy.llvm_target.self_test.verdicts import is_kept, verdict

FARTHEST = 87.0  # exp(-87) is 1.6e-38, still a normal number
TRIED = (
    2**17
    # numbers of a test, used twice: another method differs in one of a hundred, a last bit of one coefficient in 1e-6 of them
)
_LOG2E, _MAGIC = 1.442695040888963407359924681001892137, float.fromhex("0x1.8p23")  # adding it rounds to an integer
_HIGH, _LOW = -6.93145752e-1, -1.42860677e-6  # of -log 2, in two parts
_ABOVE = (
    9.999999999980870924916e-01,
    7.257664613233124478488e-01,
    2.473615434895520810817e-01,
    5.114512081637298353406e-02,
    6.757896990527504603057e-03,
    5.082762527590693718096e-04,
)
_BELOW = (1.0, -2.742335390411667452936e-01, 2.159509375685829852307e-02)
_SUBJECT = "exp"
_CALL = """
define internal void @call_{k}(ptr %p, ptr %own) alwaysinline "no-builtins" {{
entry:
  %x.p = getelementptr i64, ptr %p, i64 3
  %y.p = getelementptr i64, ptr %p, i64 4
  %x = load ptr, ptr %x.p
  %y = load ptr, ptr %y.p
{read}
  %size = call {row} @llvm.fabs.v{n}f32({row} %v)
  %far = fcmp ugt {row} %size, {farthest}
  %bits = bitcast <{n} x i1> %far to i{n}
  %any = icmp ne i{n} %bits, 0
  br i1 %any, label %numpys, label %near

near:
{lines}
{written}
  ret void

numpys:
{before}  call void @strided(ptr %p)
{after}  ret void
}}
"""
_BEFORE = """  %x.there = load ptr, ptr %x.p
  store {row} %v, ptr %x.there, align 4
"""
_AFTER = """  %y.there = load ptr, ptr %y.p
  %numpys.result = load {row}, ptr %y.there, align 4
  store {row} %numpys.result, ptr %y, align 4
"""


@cache
def is_numpys() -> bool:
    """Tell whether this method gives NumPy's bits."""
    return verdict(_SUBJECT, ("yes", "no"), lambda: "yes" if tested() else "no") == "yes"


def is_known() -> bool:
    """Tell whether this was tested on this machine."""
    return is_kept(_SUBJECT)


def tested() -> bool:
    """Compare every bit of exp of numbers of all sizes and both signs with NumPy's."""
    draw = np.random.default_rng(0)
    small = draw.normal(size=TRIED) * 10.0 ** draw.integers(-30, 2, TRIED)
    x = np.concatenate([small, draw.uniform(-FARTHEST, FARTHEST, TRIED), [0.0, -0.0, FARTHEST, -FARTHEST]])
    x = x[abs(x) <= FARTHEST].astype(np.float32)
    return bool(exponentials(x).tobytes() == np.exp(x).tobytes())


def exponentials(x: HostArray) -> HostArray:
    """Return exp of float32 numbers up to `FARTHEST`, computed like the instructions."""
    number, magic = np.float32, np.float32(_MAGIC)

    def fused(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> HostArray:
        return (np.asarray(a, np.float64) * np.asarray(b, np.float64) + np.asarray(c, np.float64)).astype(np.float32)

    q = (x * number(_LOG2E) + magic) - magic
    r = fused(q, number(_LOW), fused(q, number(_HIGH), x))
    above, below = np.asarray(_ABOVE[-1], number), np.asarray(_BELOW[-1], number)
    for coefficient in _ABOVE[-2::-1]:
        above = fused(above, r, number(coefficient))
    for coefficient in _BELOW[-2::-1]:
        below = fused(below, r, number(coefficient))
    power = ((q.astype(np.int32) + 127) << 23).view(np.float32)
    result: HostArray = above / below * power
    return result


def call(k: int, rows: int, columns: int, elsewhere: Container[str] = ()) -> str:
    """Return a function of a step's text that computes exp of numbers, read and written a row at a time.

    elsewhere: which of "x" and "y" do not lie where NumPy's loop has them, by the table.
    """
    n = rows * columns
    row = f"<{n} x float>"
    lines = [
        f"%scaled = fmul {row} %v, {_all(_LOG2E)}",
        f"%shifted = fadd {row} %scaled, {_all(_MAGIC)}",
        f"%q = fsub {row} %shifted, {_all(_MAGIC)}",
        _fused("high", "%q", _all(_HIGH), "%v", n),
        _fused("r", "%q", _all(_LOW), "%high", n),
        *_polynomial("above", _ABOVE, n),
        *_polynomial("below", _BELOW, n),
        f"%quotient = fdiv {row} %above0, %below0",
        f"%whole = fptosi {row} %q to <{n} x i32>",
        f"%exponent = add <{n} x i32> %whole, splat (i32 127)",
        f"%moved = shl <{n} x i32> %exponent, splat (i32 23)",
        f"%power = bitcast <{n} x i32> %moved to {row}",
        f"%result = fmul {row} %quotient, %power",
    ]
    text = "\n".join(f"  {line}" for line in lines)
    read, written = (
        "\n".join(f"  {line}" for line in part) for part in (_read(rows, columns), _written(rows, columns))
    )
    before, after = _BEFORE if "x" in elsewhere else "", _AFTER if "y" in elsewhere else ""
    return _CALL.format(
        k=k, n=n, row=row, farthest=_all(FARTHEST), lines=text, read=read, written=written,
        before=before.format(row=row), after=after.format(row=row),
    )  # fmt: skip


def _read(rows: int, columns: int) -> list[str]:
    """Return the instructions that read rows as one vector, %v."""
    n, part, whole, lines = rows * columns, f"<{columns} x float>", "poison", list[str]()
    for i in range(rows):
        places = ", ".join(f"i32 {j}" if j < columns else "i32 poison" for j in range(n))
        mixed = ", ".join(f"i32 {n + j - i * columns if 0 <= j - i * columns < columns else j}" for j in range(n))
        name = "%v" if i == rows - 1 else f"%v{i}"
        lines += [
            f"%x{i} = getelementptr float, ptr %x, i64 {i * columns}",
            f"%part{i} = load {part}, ptr %x{i}, align 4",
            f"%long{i} = shufflevector {part} %part{i}, {part} poison, <{n} x i32> <{places}>",
            f"{name} = shufflevector <{n} x float> {whole}, <{n} x float> %long{i}, <{n} x i32> <{mixed}>",
        ]
        whole = name
    return lines


def _written(rows: int, columns: int) -> list[str]:
    """Return the instructions that write %result row by row."""
    n, lines = rows * columns, list[str]()
    for i in range(rows):
        places = ", ".join(f"i32 {i * columns + j}" for j in range(columns))
        lines += [
            f"%y{i} = getelementptr float, ptr %y, i64 {i * columns}",
            f"%out{i} = shufflevector <{n} x float> %result, <{n} x float> poison, <{columns} x i32> <{places}>",
            f"store <{columns} x float> %out{i}, ptr %y{i}, align 4",
        ]
    return lines


def declarations(n: int) -> list[str]:
    """Return the declarations of the functions that `call` uses."""
    row = f"<{n} x float>"
    return [
        f"declare {row} @llvm.{name}.v{n}f32({', '.join([row] * count)})\n" for name, count in (("fma", 3), ("fabs", 1))
    ]


def _polynomial(name: str, coefficients: tuple[float, ...], n: int) -> list[str]:
    lines, last = list[str](), _all(coefficients[-1])
    for k in range(len(coefficients) - 2, -1, -1):
        lines.append(_fused(f"{name}{k}", last, "%r", _all(coefficients[k]), n))
        last = f"%{name}{k}"
    return lines


def _fused(name: str, a: str, b: str, c: str, n: int) -> str:
    row = f"<{n} x float>"
    return f"%{name} = call {row} @llvm.fma.v{n}f32({row} {a}, {row} {b}, {row} {c})"


def _all(value: float) -> str:
    return f"splat (float {hexadecimal(float(np.float32(value)))})"
