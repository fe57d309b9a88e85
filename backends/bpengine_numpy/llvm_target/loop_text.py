"""A pass over memory as LLVM's instructions: two nested loops, over rows and the columns of a row.

The arrays of a pass do not overlap: `plan_memory` gives each its own place, and a result that overwrites an operand has that
operand's elements. So every access declares to LLVM that it does not alias other arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from bpengine_steps.access import AccessPattern
from bpengine_steps.ir import DType, Untraceable

from bpengine_numpy.llvm_target.expressions import INTRINSICS, hexadecimal, type_of
from bpengine_numpy.llvm_target.table_layout import AHEAD, ITEM

_TEXT = """{intrinsics}
define void @bp_loop(ptr %p) "no-builtins" {{
entry:
{entry}
  %some.rows = icmp sgt i64 %R, 0
  %some.columns = icmp sgt i64 %N, 0
  %some = and i1 %some.rows, %some.columns
  br i1 %some, label %{first}, label %end
{zero}
row:
  %i = phi i64 [ 0, %{before} ], [ %i.next, %row.end ]
  %begin = mul nsw i64 %i, %C
{row}
  br label %element

element:
  %j = phi i64 [ 0, %row ], [ %j.next, %element ]
  %ij = add nsw i64 %begin, %j
{element}
  %j.next = add nuw nsw i64 %j, 1
  %j.over = icmp eq i64 %j.next, %N
  br i1 %j.over, label %row.end, label %element

row.end:
  %i.next = add nuw nsw i64 %i, 1
  %i.over = icmp eq i64 %i.next, %R
  br i1 %i.over, label %end, label %row

end:
  ret void
}}

{scopes}
"""
_ZERO = """
zero:
  %z = phi i64 [ 0, %entry ], [ %z.next, %zero ]
{stores}
  %z.next = add nuw nsw i64 %z, 1
  %z.over = icmp eq i64 %z.next, %N
  br i1 %z.over, label %row, label %zero
"""
_HEAD = ["R", "C", "N"]  # rows of the block, length of a whole row, columns of the block


@dataclass(kw_only=True)
class LoopText:
    """The text of a pass, built array by array and instruction by instruction.

    `numbers` are read through the last argument before the arrays: (type, bits) -> name. `loops` are the loops of NumPy that
    it may call, by ufunc and dtype: arguments after the arrays.
    """

    numbers: dict[tuple[str, bytes], str] = field(default_factory=dict)
    loops: list[tuple[str, DType]] = field(default_factory=list)
    _types: list[DType] = field(default_factory=list)  # access patterns of the arrays
    _entry: list[str] = field(default_factory=list)
    _row: list[str] = field(default_factory=list)
    _element: list[str] = field(default_factory=list)
    _zero: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for k, name in enumerate(_HEAD):
            self._argument(name, k, "i64")
        self._argument("numbers", AHEAD - 1, "ptr")

    def array(self, dtype: DType) -> int:
        """Add an array as an argument of the code; return its number."""
        k = len(self._types)
        self._types.append(dtype)
        self._argument(f"a{k}", AHEAD + k, "ptr")
        return k

    def load(self, k: int, pattern: AccessPattern, name: str) -> str:
        """Read an array's element as soon as its address is known; return the address."""
        lines, index = {"one": (self._entry, "0"), "column": (self._row, "%i")}.get(pattern.name, (self._element, ""))
        at = f"%{name}.at"
        lines += self._place(pattern, name, index)
        dtype = self._types[k]
        memory = memory_type(dtype)
        lines.append(f"{at} = getelementptr {memory}, ptr %a{k}, i64 {index or self._index(pattern, name)}")
        if dtype.kind == "b":
            lines += [f"%{name}.byte = load i8, ptr {at}{self._alone(k)}", f"%{name} = icmp ne i8 %{name}.byte, 0"]
        else:
            lines.append(f"%{name} = load {memory}, ptr {at}{self._alone(k)}")
        return at

    def compute(self, form: str, name: str, operands: list[str], dtype: DType, *, wide: bool) -> None:
        """Compute a value of the element, of `dtype`; it is `wide` where each element has its own value."""
        self._element += form.format(*operands, r=f"%{name}").split("\n")

    def store(self, k: int, at: str, value: str) -> None:
        """Write a value to the address of an array's element."""
        self._store(self._element, k, at, value)

    def full(self, k: int, *, wide: bool) -> str:
        """Return the address of the element in an array with the pass's shape."""
        at = f"%a{k}.at"
        self._element.append(f"{at} = getelementptr {memory_type(self._types[k])}, ptr %a{k}, i64 %ij")
        return at

    def add_to(self, k: int, value: str) -> None:
        """Add a value to the sum of its column, in an array with one sum per column."""
        kind, scope = memory_type(self._types[k]), self._alone(k)
        self._zero += [
            f"%a{k}.zero = getelementptr {kind}, ptr %a{k}, i64 %z",
            f"store {kind} 0.0, ptr %a{k}.zero{scope}",
        ]
        self._element += [
            f"%a{k}.at = getelementptr {kind}, ptr %a{k}, i64 %j",
            f"%a{k}.before = load {kind}, ptr %a{k}.at{scope}",
            f"%a{k}.after = fadd {kind} %a{k}.before, {value}",
            f"store {kind} %a{k}.after, ptr %a{k}.at{scope}",
        ]

    def number(self, dtype: DType, value: np.generic | int) -> str:
        """Return a number that is read from the table."""
        key = str(type_of(dtype)), dtype.type(value).tobytes().ljust(ITEM, b"\0")
        if key not in self.numbers:
            name = self.numbers[key] = f"%k{len(self.numbers)}"
            place, kind = len(self.numbers) - 1, memory_type(dtype)
            self._entry.append(f"{name}.at = getelementptr i64, ptr %numbers, i64 {place}")
            if dtype.kind == "b":
                self._entry += [f"{name}.byte = load i8, ptr {name}.at", f"{name} = icmp ne i8 {name}.byte, 0"]
            else:
                self._entry.append(f"{name} = load {kind}, ptr {name}.at")
        return self.numbers[key]

    def __str__(self) -> str:
        zero = _ZERO.format(stores=lines_of(self._zero)) if self._zero else ""
        return _TEXT.format(
            intrinsics=INTRINSICS,
            entry=lines_of(self._entry),
            first="zero" if zero else "row",
            before="zero" if zero else "entry",
            zero=zero,
            row=lines_of(self._row),
            element=lines_of(self._element),
            scopes=self._scopes(),
        )

    def _argument(self, name: str, place: int, kind: str) -> None:
        self._entry += loaded_argument(name, place, kind)

    def _place(self, pattern: AccessPattern, name: str, index: str) -> list[str]:
        """Return the instructions that compute an element's index where it is not the element's, row's or column's number."""
        if index or pattern.name != "steps":
            return []
        down, along = (self._step(elements) for elements in (pattern.down, pattern.along))
        return [
            f"%{name}.down = mul nsw i64 %i, {down}",
            f"%{name}.along = mul nsw i64 %j, {along}",
            f"%{name}.place = add nsw i64 %{name}.down, %{name}.along",
        ]

    def _index(self, pattern: AccessPattern, name: str) -> str:
        return {"full": "%ij", "row": "%j"}.get(pattern.name, f"%{name}.place")

    def _step(self, elements: int) -> str:
        """Return the code of a stride; 0 and 1 as constants let several elements be read at once."""
        return str(elements) if elements in (0, 1) else self.number(np.dtype("int64"), elements)

    def _store(self, lines: list[str], k: int, at: str, value: str) -> None:
        kind = memory_type(self._types[k])
        if self._types[k].kind == "b":
            lines.append(f"{at}.byte = zext i1 {value} to i8")
            value = f"{at}.byte"
        lines.append(f"store {kind} {value}, ptr {at}{self._alone(k)}")

    def _alone(self, k: int) -> str:
        return f", !alias.scope !{3 * k + 2}, !noalias !{3 * k + 3}"

    def _scopes(self) -> str:
        """Return the metadata that declares that no array aliases another."""
        count = range(len(self._types))
        lines = ["!0 = distinct !{!0}"]
        for k in count:
            others = ", ".join(f"!{3 * other + 1}" for other in count if other != k)
            lines += [
                f"!{3 * k + 1} = distinct !{{!{3 * k + 1}, !0}}",
                f"!{3 * k + 2} = !{{!{3 * k + 1}}}",
                f"!{3 * k + 3} = !{{{others}}}",
            ]
        return "\n".join(lines)


def loaded_argument(name: str, place: int, kind: str) -> list[str]:
    """Return the instructions that read an argument of the code."""
    return [f"%{name}.p = getelementptr i64, ptr %p, i64 {place}", f"%{name} = load {kind}, ptr %{name}.p"]


def literal(value: np.generic) -> str:
    """Return a NumPy number as LLVM writes it."""
    if value.dtype.kind == "b":
        return "true" if value else "false"
    if value.dtype.kind == "f":
        return hexadecimal(float(value.item()))
    return str(int(value.item()))


def memory_type(dtype: DType) -> str:
    """Return the type of an element in memory; raise Untraceable for a dtype that loops do not support."""
    kind = "i8" if dtype.kind == "b" else type_of(dtype)
    if kind is None:
        raise Untraceable(f"a pass over {dtype}")
    return kind


def lines_of(instructions: list[str]) -> str:
    """Return instructions as the lines of a block."""
    return "\n".join(f"  {line}" for line in instructions)
