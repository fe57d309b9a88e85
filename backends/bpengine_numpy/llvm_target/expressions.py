"""The operations of fused loops: algebra, exactly rounded in IEEE arithmetic, so that a fused loop gives NumPy's bits.

Everything else (exp, log, tanh, expm1 ...) is left to NumPy's vectorised loops, since LLVM has no such functions. Templates of
LLVM's instructions: {r} the result, {0}, {1} and {2} operands, {t} the type of the first, {s} whether its integers are signed,
{i} the type's name in an intrinsic's name, {bits} its number of bits, {last} one less. No instruction has a flag that lets
LLVM reorder or contract floating-point operations.
"""

from __future__ import annotations

import struct
from functools import cache, lru_cache

import numpy as np
from bpengine_steps.ir import DType

COMPARISONS = {"greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le"}
FLOATS = {
    "add": "{r} = fadd {t} {0}, {1}",
    "subtract": "{r} = fsub {t} {0}, {1}",
    "multiply": "{r} = fmul {t} {0}, {1}",
    "divide": "{r} = fdiv {t} {0}, {1}",
    "negative": "{r} = fneg {t} {0}",
    "square": "{r} = fmul {t} {0}, {0}",
    "absolute": "{r} = call {t} @llvm.fabs.{i}({t} {0})",
    "sqrt": "{r} = call {t} @llvm.sqrt.{i}({t} {0})",
    # a comparison with a NaN is false, which makes a NaN in either operand the result
    "maximum": (
        "{r}.more = fcmp oge {t} {0}, {1}\n{r}.nan = fcmp uno {t} {0}, {0}\n"
        "{r}.own = or i1 {r}.more, {r}.nan\n{r} = select i1 {r}.own, {t} {0}, {t} {1}"
    ),
    "minimum": (
        "{r}.less = fcmp ole {t} {0}, {1}\n{r}.nan = fcmp uno {t} {0}, {0}\n"
        "{r}.own = or i1 {r}.less, {r}.nan\n{r} = select i1 {r}.own, {t} {0}, {t} {1}"
    ),
    "sign": (
        "{r}.more = fcmp ogt {t} {0}, 0.0\n{r}.less = fcmp olt {t} {0}, 0.0\n"
        "{r}.low = select i1 {r}.less, {t} -1.0, {t} {0}\n{r} = select i1 {r}.more, {t} 1.0, {t} {r}.low"
    ),
    **{name: f"{{r}} = fcmp o{how} {{t}} {{0}}, {{1}}" for name, how in COMPARISONS.items()},
    "equal": "{r} = fcmp oeq {t} {0}, {1}",
    "not_equal": "{r} = fcmp une {t} {0}, {1}",
    "isfinite": "{r}.zero = fsub {t} {0}, {0}\n{r} = fcmp oeq {t} {r}.zero, 0.0",
}
_SECOND = {  # the second of equal operands is the result, which matters where one is 0 and the other -0
    "maximum": FLOATS["maximum"].replace("oge", "ogt"),
    "minimum": FLOATS["minimum"].replace("ole", "olt"),
}
INTEGERS = {
    "add": "{r} = add {t} {0}, {1}",
    "subtract": "{r} = sub {t} {0}, {1}",
    "multiply": "{r} = mul {t} {0}, {1}",
    "negative": "{r} = sub {t} 0, {0}",
    "square": "{r} = mul {t} {0}, {0}",
    "maximum": "{r}.own = icmp {s}ge {t} {0}, {1}\n{r} = select i1 {r}.own, {t} {0}, {t} {1}",
    "minimum": "{r}.own = icmp {s}le {t} {0}, {1}\n{r} = select i1 {r}.own, {t} {0}, {t} {1}",
    **{name: f"{{r}} = icmp {{s}}{how} {{t}} {{0}}, {{1}}" for name, how in COMPARISONS.items()},
    "equal": "{r} = icmp eq {t} {0}, {1}",
    "not_equal": "{r} = icmp ne {t} {0}, {1}",
    "bitwise_xor": "{r} = xor {t} {0}, {1}",
    "bitwise_and": "{r} = and {t} {0}, {1}",
    "bitwise_or": "{r} = or {t} {0}, {1}",
    "invert": "{r} = xor {t} {0}, -1",
    # for shifts by the number of bits or more, LLVM's result is undefined; NumPy's is 0, or all sign bits
    "left_shift": (
        "{r}.fits = icmp ult {t} {1}, {bits}\n{r}.by = select i1 {r}.fits, {t} {1}, {t} 0\n"
        "{r}.moved = shl {t} {0}, {r}.by\n{r} = select i1 {r}.fits, {t} {r}.moved, {t} 0"
    ),
}
_UNSIGNED_SHIFT = (
    "{r}.fits = icmp ult {t} {1}, {bits}\n{r}.by = select i1 {r}.fits, {t} {1}, {t} 0\n"
    "{r}.moved = lshr {t} {0}, {r}.by\n{r} = select i1 {r}.fits, {t} {r}.moved, {t} 0"
)
_SIGNED_SHIFT = (
    "{r}.fits = icmp ult {t} {1}, {bits}\n{r}.by = select i1 {r}.fits, {t} {1}, {t} {last}\n{r} = ashr {t} {0}, {r}.by"
)
BOOLEANS = {
    "add": "{r} = or i1 {0}, {1}",
    "multiply": "{r} = and i1 {0}, {1}",
    "maximum": "{r} = or i1 {0}, {1}",
    "minimum": "{r} = and i1 {0}, {1}",
    **{name: f"{{r}} = icmp u{how} i1 {{0}}, {{1}}" for name, how in COMPARISONS.items()},
    "equal": "{r} = icmp eq i1 {0}, {1}",
    "not_equal": "{r} = icmp ne i1 {0}, {1}",
    "bitwise_xor": "{r} = xor i1 {0}, {1}",
    "bitwise_and": "{r} = and i1 {0}, {1}",
    "bitwise_or": "{r} = or i1 {0}, {1}",
    "invert": "{r} = xor i1 {0}, true",
    "logical_and": "{r} = and i1 {0}, {1}",
    "logical_or": "{r} = or i1 {0}, {1}",
    "logical_not": "{r} = xor i1 {0}, true",
}
FORMS = {
    "f": FLOATS,
    "i": {**INTEGERS, "right_shift": _SIGNED_SHIFT},
    "u": {**INTEGERS, "right_shift": _UNSIGNED_SHIFT},
    "b": BOOLEANS,
}
INTRINSICS = "".join(
    f"declare {kind} @llvm.{name}.{suffix}({kind})\n"
    for name in ("fabs", "sqrt")
    for kind, suffix in (("float", "f32"), ("double", "f64"))
)
_FLOATS = {4: "float", 8: "double"}


def hexadecimal(value: float) -> str:
    """Return a floating-point number of either type as LLVM writes it."""
    return f"0x{struct.pack('>d', value).hex().upper()}"


def type_of(dtype: DType) -> str | None:
    """Return LLVM's type of an element in a register, None for a dtype that loops do not support."""
    if not dtype.isnative:
        return None
    if dtype.kind == "f":
        return _FLOATS.get(dtype.itemsize)
    return {"b": "i1", "i": f"i{8 * dtype.itemsize}", "u": f"i{8 * dtype.itemsize}"}.get(dtype.kind)


@lru_cache(maxsize=1024)  # planning a step calls this a thousand times for a few dozen operations
def template(ufunc: str, result: DType, operands: tuple[DType, ...]) -> str | None:
    """Return the instructions of a ufunc ("cast" for a change of dtype alone), or None for NumPy's loop."""
    if any(type_of(dtype) is None for dtype in (result, *operands)):
        return None
    if ufunc == "cast":
        return _cast(operands[0], result)
    if ufunc == "where":
        return f"{{r}} = select i1 {{0}}, {type_of(result)} {{1}}, {type_of(result)} {{2}}"
    form = FORMS[operands[0].kind].get(ufunc)
    if ufunc in _SECOND and operands[0].kind == "f" and _second_comes_out(ufunc, operands[0].itemsize):
        form = _SECOND[ufunc]
    return form and _filled(form, operands[0])


@cache
def _second_comes_out(ufunc: str, itemsize: int) -> bool:
    """Tell whether NumPy's maximum or minimum of 0 and -0 is the second operand, as x86's vector instructions give it."""
    function, zeros = getattr(np, ufunc), np.array([-0.0, 0.0], f"f{itemsize}")
    for length in range(1, 70):
        for first, second in (zeros, zeros[::-1]):
            for other in (second, np.full(length, second)):
                if (np.signbit(function(np.full(length, first), other)) != np.signbit(second)).any():
                    return False
    return True


def _filled(form: str, dtype: DType) -> str:
    """Fill a type's names into a template, and leave the operands."""
    bits, kind = 8 * dtype.itemsize, type_of(dtype) or ""
    sign = "s" if dtype.kind == "i" else "u"
    values = {"t": kind, "s": sign, "i": f"f{bits}", "bits": str(bits), "last": str(bits - 1)}
    for name, value in values.items():
        form = form.replace(f"{{{name}}}", value)
    return form


def _cast(old: DType, new: DType) -> str:
    """Return the instruction that converts a dtype, by C's rules."""
    before, after = type_of(old), type_of(new)
    if new.kind == "b" and old.kind != "b":
        return f"{{r}} = fcmp une {before} {{0}}, 0.0" if old.kind == "f" else f"{{r}} = icmp ne {before} {{0}}, 0"
    if before == after:  # also int32 to uint32: the same bits
        return f"{{r}} = bitcast {before} {{0}} to {after}"
    longer = new.itemsize > old.itemsize or old.kind == "b"
    how = {
        ("f", "f"): "fpext" if longer else "fptrunc",
        ("f", "i"): "fptosi",
        ("f", "u"): "fptoui",
        ("i", "f"): "sitofp",
        ("u", "f"): "uitofp",
        ("b", "f"): "uitofp",
        ("b", "i"): "zext",
        ("b", "u"): "zext",
    }.get((old.kind, new.kind)) or (("sext" if old.kind == "i" else "zext") if longer else "trunc")
    return f"{{r}} = {how} {before} {{0}} to {after}"
