"""A whole step as LLVM's instructions: its table of calls, one after another, as one function.

The function is called like the interpreter, with the same table, which holds its arguments. Loops and products are part of
it, with constant sizes; all other functions of the table are called by address. Arrays that only its own parts use are in the
function's own memory, most of which LLVM turns into registers: the next part need not read from the cache what the last wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from bpengine_steps.ir import DType

from bpengine_numpy.llvm_target import interpreter
from bpengine_numpy.llvm_target.expressions import type_of
from bpengine_numpy.llvm_target.object_code.llvm_build import UNROLLED
from bpengine_numpy.llvm_target.products.product_orders import ORDERS, Arithmetic, ProductForm
from bpengine_numpy.llvm_target.rows.row_forms import row_sum, vector
from bpengine_numpy.llvm_target.table_layout import ROW
from bpengine_numpy.llvm_target.target import LlvmTarget
from bpengine_numpy.llvm_target.whole_step import exponential

_CALL = "  %c{k} = getelementptr i64, ptr %table, i64 {place}\n"
_BY_ADDRESS = "  %f{k}.at = getelementptr i64, ptr %table, i64 {place}\n  %f{k} = load ptr, ptr %f{k}.at\n"
_NUMBER = """
define internal void @call_{k}(ptr %p, ptr %own) alwaysinline "no-builtins" {{
  %p1 = getelementptr i64, ptr %p, i64 1
  %p2 = getelementptr i64, ptr %p, i64 2
  %p3 = getelementptr i64, ptr %p, i64 3
  %target = load ptr, ptr %p
  %source = load ptr, ptr %p1
  %cell = load ptr, ptr %{cell}
  %step = load i64, ptr %cell
  %to = {to}
  %from = {source}
  %value = load i{bits}, ptr %from, align 1
  store i{bits} %value, ptr %to, align 1
  ret void
}}
"""
_PRODUCT = """
define internal void @call_{k}(ptr %p, ptr %own) alwaysinline "no-builtins" {{
  %a.p = getelementptr i64, ptr %p, i64 3
  %b.p = getelementptr i64, ptr %p, i64 4
  %y.p = getelementptr i64, ptr %p, i64 5
  %a = load ptr, ptr %a.p
  %b = load ptr, ptr %b.p
  %y = load ptr, ptr %y.p
{lines}
  ret void
}}
"""
_TOTAL = """
define internal void @call_{k}(ptr %p, ptr %own) alwaysinline "no-builtins" {{
  %source.p = getelementptr i64, ptr %p, i64 1
  %target = load ptr, ptr %p
  %source = load ptr, ptr %source.p
{lines}
  store {kind} %total, ptr %target, align {size}
  ret void
}}
"""
_PLACE = "getelementptr i{bits}, ptr %{array}, i64 %step"
_STRIDED = re.compile(r"^define internal void @strided.*?^}\n", re.MULTILINE | re.DOTALL)
_RUN = re.compile(r"^define void @bp_run_table.*?^}\n", re.MULTILINE | re.DOTALL)
_ROWS = "  call void @rows(ptr %table, i64 %rows)\n"  # where the interpreter runs the table of a step
_FIRST = "entry:\n"
_NUMBERED, _DECLARED = re.compile(r"!(\d+)"), re.compile(r"^declare .*\n", re.MULTILINE)


@dataclass
class StepText:
    """The text of a step's function, built call by call, in the table's order.

    The function has `own` bytes of memory. Calls are told where their arrays lie in it, by the names of the arrays; those
    that are not named lie where the table says.
    """

    own: int = 0
    _calls: list[str] = field(default_factory=list)
    _functions: list[str] = field(default_factory=list)
    _declared: dict[str, None] = field(default_factory=dict)
    _scopes: int = 0

    def loop(self, source: str, rows: int, length: int, columns: int, places: Mapping[str, int]) -> None:
        """Add a pass, whose code becomes a part of the function."""
        k = len(self._calls)
        self._declared |= dict.fromkeys(_DECLARED.findall(source))
        text = _NUMBERED.sub(lambda number: f"!{int(number[1]) + self._scopes}", _DECLARED.sub("", source))
        self._scopes += 1 + max((int(number) for number in _NUMBERED.findall(source)), default=-1)
        for name, size in (("R", rows), ("C", length), ("N", columns)):
            text = text.replace(f"%{name} = load i64, ptr %{name}.p\n", f"%{name} = add i64 0, {size}\n")
        text = text.replace("@numpys_", f"@numpys_{k}_").replace(
            'define void @bp_loop(ptr %p) "no-builtins"',
            f'define internal void @call_{k}(ptr %p, ptr %own) alwaysinline "no-builtins"',
        )
        self._own(text, places)

    def product(self, form: ProductForm, order: str, places: Mapping[str, int]) -> None:
        """Add a product "y" of "a" and "b", computed term by term."""
        self._own(_PRODUCT.format(k=len(self._calls), lines="\n".join(_Product(form, order).lines())), places)

    def exponentials(self, rows: int, columns: int, places: Mapping[str, int]) -> None:
        """Add exp "y" of so many float32 numbers "x", which are read and written row by row, as in passes."""
        self._declared |= dict.fromkeys(exponential.declarations(rows * columns))
        self._own(exponential.call(len(self._calls), rows, columns, elsewhere=places.keys()), places)

    def total(self, dtype: DType, length: int, places: Mapping[str, int]) -> None:
        """Add the sum of the numbers of an array, the "source", in the order of a row's sum."""
        k, kind = len(self._calls), type_of(dtype) or ""
        lines = [f"%row = load {vector(kind, length)}, ptr %source, align {dtype.itemsize}"]
        lines += row_sum("%total", "%row", kind, length)
        self._own(
            _TOTAL.format(k=k, kind=kind, size=dtype.itemsize, lines="\n".join(f"  {line}" for line in lines)), places
        )

    def number(self, bytes_each: int, places: Mapping[str, int], *, brings: bool) -> None:
        """Copy one number of the step: from a run to "target" (`take_rows`), or from "source" to it (`put_report`)."""
        bits = 8 * bytes_each
        target, source = (_PLACE.format(bits=bits, array=name) for name in ("target", "source"))
        plain = "getelementptr i8, ptr %{}, i64 0"
        to, at = (plain.format("target"), source) if brings else (target, plain.format("source"))
        self._own(
            _NUMBER.format(k=len(self._calls), bits=bits, to=to, source=at, cell="p3" if brings else "p2"), places
        )

    def numpys(self) -> None:
        """Add the call of one of NumPy's loops."""
        self._calls.append(self._given() + f"  call void @strided(ptr %c{len(self._calls)})\n")

    def other(self) -> None:
        """Add the call of a function of the interpreter."""
        k = len(self._calls)
        by_address = _BY_ADDRESS.format(k=k, place=k * ROW)
        self._calls.append(self._given() + by_address + f"  call void %f{k}(ptr %c{k})\n")

    def __str__(self) -> str:
        native = interpreter.text()
        strided, run = _STRIDED.search(native), _RUN.search(native)
        assert strided
        assert run
        assert _ROWS in run[0]
        memory = f"  %own = alloca [{max(self.own, 1)} x i8], align {LlvmTarget.alignment}\n"
        body = run[0].replace(_ROWS, "".join(self._calls)).replace("@bp_run_table", "@bp_run_step")
        body = body.replace(_FIRST, f"{_FIRST}{memory}", 1)
        return "".join([UNROLLED, *self._declared, _FUSED, body, strided[0], *self._functions])

    def _own(self, text: str, places: Mapping[str, int]) -> None:
        """Call a function of the text, some of whose arrays lie in the function's own memory."""
        k = len(self._calls)
        for name, place in places.items():
            text, count = re.subn(
                rf"  %{name} = load ptr, ptr %\S+\n", f"  %{name} = getelementptr i8, ptr %own, i64 {place}\n", text
            )
            assert count == 1, name
        self._functions.append(text)
        self._calls.append(self._given() + f"  call void @call_{k}(ptr %c{k}, ptr %own)\n")

    def _given(self) -> str:
        k = len(self._calls)
        return _CALL.format(k=k, place=k * ROW + 1)


_FUSED = "declare float @llvm.fma.f32(float, float, float)\ndeclare double @llvm.fma.f64(double, double, double)\n"


class _Product:
    """The instructions of a product in one of the known orders."""

    def __init__(self, form: ProductForm, order: str) -> None:
        self._form, self._order = form, order
        self._lines: list[str] = []
        dtype = np.dtype(form.dtype)
        self._kind, self._size = type_of(dtype) or "", dtype.itemsize

    def lines(self) -> Sequence[str]:
        """Return the instructions: both factors are read, then each number is computed, then all are written."""
        rows, terms, columns = self._form.sizes
        a = [
            [self._read("a", i * self._form.left[0] + k * self._form.left[1]) for k in range(terms)]
            for i in range(rows)
        ]
        b = [
            [self._read("b", k * self._form.right[0] + j * self._form.right[1]) for k in range(terms)]
            for j in range(columns)
        ]
        arithmetic = Arithmetic(self._multiply, self._add, self._fused)
        totals = [ORDERS[self._order](arithmetic, row, column, "0.0") for row in a for column in b]
        # written by one store: a load of several numbers would have to wait for several stores to reach the cache
        row, whole = f"<{len(totals)} x {self._kind}>", "poison"
        for place, total in enumerate(totals):
            whole = self._new(f"insertelement {row} {whole}, {self._kind} {total}, i64 {place}")
        self._lines.append(f"  store {row} {whole}, ptr %y, align {self._size}")
        return self._lines

    def _read(self, factor: str, place: int) -> str:
        at = self._new(f"getelementptr {self._kind}, ptr %{factor}, i64 {place}")
        return self._new(f"load {self._kind}, ptr {at}, align {self._size}")

    def _multiply(self, x: str, y: str) -> str:
        return self._new(f"fmul {self._kind} {x}, {y}")

    def _add(self, x: str, y: str) -> str:
        return self._new(f"fadd {self._kind} {x}, {y}")

    def _fused(self, x: str, y: str, z: str) -> str:
        operands = ", ".join(f"{self._kind} {value}" for value in (x, y, z))
        return self._new(f"call {self._kind} @llvm.fma.f{8 * self._size}({operands})")

    def _new(self, instruction: str) -> str:
        name = f"%n{len(self._lines)}"
        self._lines.append(f"  {name} = {instruction}")
        return name
