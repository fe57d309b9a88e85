"""A pass that processes a row at a time, as LLVM's instructions: one loop over rows, whose columns are a vector.

The number of columns is a constant in the code. A number per row is computed once per row. All operands of a row are read
before any result of it is written, and a sum over rows stays in a register until the last row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from bpengine_steps.access import FULL, ROW, AccessPattern
from bpengine_steps.ir import DType

from bpengine_numpy.llvm_target.expressions import INTRINSICS, type_of
from bpengine_numpy.llvm_target.loop_text import LoopText, lines_of, loaded_argument, memory_type
from bpengine_numpy.llvm_target.rows.row_forms import (
    intrinsics,
    numpys,
    repeated,
    row_maximum,
    row_sum,
    vector,
    vectored,
)
from bpengine_numpy.llvm_target.table_layout import AHEAD

_TEXT = """{intrinsics}{own}
define void @bp_loop(ptr %p) "no-builtins" {{
entry:
{entry}
  %some = icmp sgt i64 %R, 0
  br i1 %some, label %row, label %end

row:
  %i = phi i64 [ 0, %entry ], [ %i.next, %row.end ]
{sums}
  %begin = mul nsw i64 %i, {columns}
{read}
{element}
{written}
  br label %row.end

row.end:
  %i.next = add nuw nsw i64 %i, 1
  %i.over = icmp eq i64 %i.next, %R
  br i1 %i.over, label %over, label %row

over:
{last}
  br label %end

end:
  ret void
}}
"""
_LOOP = ("loop", "context", "auxiliary")


@dataclass(kw_only=True)
class RowText(LoopText):
    """The text of such a pass over rows of `columns` elements. See `LoopText`; `loops` are those of NumPy that it may call."""

    columns: int
    _sums: list[str] = field(default_factory=list)
    _written: list[str] = field(default_factory=list)
    _last: list[str] = field(default_factory=list)
    _own: dict[str, str] = field(default_factory=dict)  # functions of the text, by name
    _single: dict[str, str] = field(default_factory=dict)  # the type of each number that is equal for a whole row
    _repeated: set[str] = field(default_factory=set)

    def load(self, k: int, pattern: AccessPattern, name: str) -> str:
        """Read a row, or the number of a row; return its address."""
        lines = self._entry if pattern.name in ("one", "row") else self._row
        at, kind = f"%{name}.at", memory_type(self._types[k])
        index = {"full": "%begin", "column": "%i", "steps": f"%{name}.place"}.get(pattern.name, "0")
        if pattern.name == "steps":
            lines.append(f"%{name}.place = mul nsw i64 %i, {self._step(pattern.down)}")
        lines.append(f"{at} = getelementptr {kind}, ptr %a{k}, i64 {index}")
        wide = pattern in (FULL, ROW) or (pattern.name == "steps" and pattern.along)
        if not wide:
            self._single[f"%{name}"] = type_of(self._types[k]) or kind
        if wide and pattern.name == "steps" and pattern.along != 1:
            lines += self._gathered(k, pattern, name)
        else:
            lines += self._read(self._types[k], name, at, self.columns if wide else 0)
        return at

    def compute(self, form: str, name: str, operands: list[str], dtype: DType, *, wide: bool) -> None:
        """Compute a row, or the number of a row."""
        instructions = form.format(*operands, r=f"%{name}").split("\n")
        if not wide:
            self._element += instructions
            self._single[f"%{name}"] = type_of(dtype) or ""
            return
        self._repeat(operands)
        self._element += [vectored(line, self.columns, self._single) for line in instructions]

    def number(self, dtype: DType, value: np.generic | int) -> str:
        """Return a number that is read from the table."""
        name = super().number(dtype, value)
        self._single[name] = type_of(dtype) or ""
        return name

    def store(self, k: int, at: str, value: str) -> None:
        """Write a row, or the number of a row, to its address."""
        self._put(self._written, k, at, value, 0 if value in self._single else self.columns)

    def full(self, k: int, *, wide: bool) -> str:
        """Return the address of the row, or of the number of a row, in an array with the pass's shape."""
        at = f"%a{k}.at"
        place = "%begin" if wide else "%i"
        self._written.append(f"{at} = getelementptr {memory_type(self._types[k])}, ptr %a{k}, i64 {place}")
        return at

    def add_to(self, k: int, value: str) -> None:
        """Add a row to the sum of all."""
        kind = memory_type(self._types[k])
        row, before, after = vector(kind, self.columns), f"%a{k}.before", f"%a{k}.after"
        self._sums.append(f"{before} = phi {row} [ zeroinitializer, %entry ], [ {after}, %row.end ]")
        self._repeat([value])
        self._element.append(vectored(f"{after} = fadd {kind} {before}, {value}", self.columns, self._single))
        self._put(self._last, k, f"%a{k}", after, self.columns)

    def reduce_row(self, ufunc: str, dtype: DType, name: str, value: str) -> None:
        """Reduce a row to a number."""
        kind = memory_type(dtype)
        self._repeat([value])
        row = vectored(f"{kind} {value}", self.columns, self._single).removeprefix(f"{vector(kind, self.columns)} ")
        if ufunc == "add":
            self._element += row_sum(f"%{name}", row, kind, self.columns)
        else:
            loop, room = self._numpys(ufunc, dtype), f"%{kind}.room"
            self._element += row_maximum(f"%{name}", row, kind, self.columns, loop=loop, room=room, size=dtype.itemsize)
        self._single[f"%{name}"] = kind

    def __str__(self) -> str:
        entry = list(self._entry)
        first = AHEAD + len(self._types)
        for n, (ufunc, dtype) in enumerate(self.loops):
            for part, what in enumerate(_LOOP):
                entry += loaded_argument(f"{ufunc}.{memory_type(dtype)}.{what}", first + len(_LOOP) * n + part, "ptr")
        return _TEXT.format(
            intrinsics=INTRINSICS + intrinsics(self.columns),
            own="".join(self._own.values()),
            entry=lines_of(entry),
            sums=lines_of(self._sums),
            columns=self.columns,
            read=lines_of(self._row),
            element=lines_of(self._element),
            written=lines_of(self._written),
            last=lines_of(self._last),
        )

    def _repeat(self, operands: list[str]) -> None:
        """Broadcast numbers to rows, once for each number."""
        for name in operands:
            if name in self._single and name not in self._repeated:
                self._repeated.add(name)
                self._element += repeated(name, self._single[name], self.columns)

    def _numpys(self, ufunc: str, dtype: DType) -> str:
        """Add NumPy's loop of a ufunc, which a row may need, as arguments after the arrays; return their name."""
        kind = memory_type(dtype)
        if kind not in self._own:
            self._own[kind] = numpys(kind, self.columns, dtype.itemsize)
            self._entry.append(f"%{kind}.room = alloca {vector(kind, self.columns)}")
            self.loops.append((ufunc, dtype))
        return f"%{ufunc}.{kind}"

    def _read(self, dtype: DType, name: str, at: str, width: int) -> list[str]:
        """Return the instructions that read a row at an address, or with width 0 a number."""
        kind, loaded = memory_type(dtype), f"%{name}"
        row = vector(kind, width) if width else kind
        if dtype.kind != "b":
            return [f"{loaded} = load {row}, ptr {at}, align {dtype.itemsize}"]
        zero = "zeroinitializer" if width else "0"
        return [f"{loaded}.byte = load {row}, ptr {at}, align 1", f"{loaded} = icmp ne {row} {loaded}.byte, {zero}"]

    def _put(self, lines: list[str], k: int, at: str, value: str, width: int) -> None:
        dtype = self._types[k]
        kind = memory_type(dtype)
        row = vector(kind, width) if width else kind
        if dtype.kind == "b":
            bits = vector("i1", width) if width else "i1"
            lines.append(f"{at}.byte = zext {bits} {value} to {row}")
            value = f"{at}.byte"
        lines.append(f"store {row} {value}, ptr {at}, align {dtype.itemsize}")

    def _gathered(self, k: int, pattern: AccessPattern, name: str) -> list[str]:
        """Return the instructions that read a row element by element."""
        dtype = self._types[k]
        kind, register = memory_type(dtype), type_of(dtype) or ""
        row, before, lines = vector(register, self.columns), "poison", list[str]()
        for j in range(self.columns):
            one, after = f"{name}.e{j}", f"%{name}.g{j}" if j + 1 < self.columns else f"%{name}"
            lines.append(f"%{one}.to = mul nsw i64 {j}, {self._step(pattern.along)}")
            lines.append(f"%{one}.at = getelementptr {kind}, ptr %{name}.at, i64 %{one}.to")
            lines += self._read(dtype, one, f"%{one}.at", 0)
            lines.append(f"{after} = insertelement {row} {before}, {register} %{one}, i64 {j}")
            before = after
        return lines
