"""Narrow products: many rows times a small matrix, or the transpose of one narrow matrix times another.

A library packs and blocks its operands, which for two columns takes longer than the multiplication. Here a row of the result
is a vector; with many terms, each number of the result is a register. This gives the library's bits only where the library
adds one term after another, each by a fused multiply-add.
"""

from __future__ import annotations

import numpy as np
from bpengine_steps.ir import StepNode

from bpengine_numpy.llvm_target.expressions import type_of
from bpengine_numpy.llvm_target.loop_text import lines_of, loaded_argument
from bpengine_numpy.llvm_target.products.product_orders import ProductForm, order_of
from bpengine_numpy.llvm_target.rows.row_forms import repeated, vector

NARROW = 16  # the most rows, terms or columns held in registers
SMALL = 40  # the most numbers of the small matrix, or of the small result
FEWEST = 16  # the fewest rows, or terms, for which a separate function pays
MOST = 2**17  # terms of all numbers together: OpenBLAS multiplies twice as many in one thread, so its order is the same
_TEXT = """declare {row} @llvm.fma.v{n}f{bits}({row}, {row}, {row})

define void @bp_product(ptr %p) "no-builtins" {{
entry:
{entry}
  br label %step

step:
  %i = phi i64 [ 0, %entry ], [ %i.next, %step ]
{sums}
{body}
  %i.next = add nuw nsw i64 %i, 1
  %i.over = icmp eq i64 %i.next, %count
  br i1 %i.over, label %over, label %step

over:
{last}
  ret void
}}
"""


def narrow_form(node: StepNode) -> ProductForm | None:
    """Return the form of a product that can be such a function, else None."""
    form = ProductForm.of(node) if node.op == "matmul" else None
    return form if form and form.dtype == "<f4" and (_many_rows(form) or _many_terms(form)) else None


def narrow_source(form: ProductForm) -> str | None:
    """Return the text of the product's function, None where the library adds up in another order."""
    if order_of(form) != "chain":
        return None
    return (_rows_text if _many_rows(form) else _terms_text)(form)


def _many_rows(form: ProductForm) -> bool:
    rows, terms, columns = form.sizes
    small = terms <= NARROW and 1 < columns <= NARROW and terms * columns <= SMALL
    return small and rows >= FEWEST and rows * terms * columns <= MOST and form.left == (terms, 1)


def _many_terms(form: ProductForm) -> bool:
    rows, terms, columns = form.sizes
    small = rows <= NARROW and 1 < columns <= NARROW and rows * columns <= SMALL
    whole = form.left == (1, rows) and form.right == (columns, 1)
    return small and whole and terms >= FEWEST and rows * terms * columns <= MOST


class _ProductWriter:
    """The instructions of a function, called like NumPy's loop: p = (loop, context, auxiliary, a, b, y, products, sizes)."""

    def __init__(self, form: ProductForm, count: int) -> None:
        self.columns, self.kind = form.sizes[2], type_of(np.dtype(form.dtype)) or ""
        self.row = vector(self.kind, self.columns)
        self.entry = [
            line for name, place in (("a", 3), ("b", 4), ("y", 5)) for line in loaded_argument(name, place, "ptr")
        ]
        self.entry += loaded_argument("count", count, "i64")
        self.sums: list[str] = []
        self.body: list[str] = []
        self.last: list[str] = []

    def element(self, lines: list[str], name: str, array: str, place: str) -> None:
        """Read a number."""
        lines.append(f"%{name}.at = getelementptr {self.kind}, ptr %{array}, i64 {place}")
        lines.append(f"%{name} = load {self.kind}, ptr %{name}.at, align 4")

    def all_of(self, name: str) -> str:
        """Broadcast a number to a row."""
        self.body += repeated(f"%{name}", self.kind, self.columns)
        return f"%{name}.wide"

    def fused(self, name: str, a: str, b: str, c: str) -> str:
        """Add a product to a row."""
        self.body.append(
            f"%{name} = call {self.row} @llvm.fma.v{self.columns}f32({self.row} {a}, {self.row} {b}, {self.row} {c})"
        )
        return f"%{name}"

    def store(self, lines: list[str], name: str, value: str, place: str) -> None:
        """Write a row of the result."""
        lines.append(f"%{name}.to = getelementptr {self.kind}, ptr %y, i64 {place}")
        lines.append(f"store {self.row} {value}, ptr %{name}.to, align 4")

    def text(self) -> str:
        """Return the function."""
        parts = {name: lines_of(getattr(self, name)) for name in ("entry", "sums", "body", "last")}
        return _TEXT.format(row=self.row, n=self.columns, bits=32, **parts)


def _rows_text(form: ProductForm) -> str:
    """Write many rows times a small matrix, which stays in registers: p[6 + 1] is the number of rows."""
    _, terms, columns = form.sizes
    writer = _ProductWriter(form, 7)
    for k in range(terms):
        before = "poison"
        for j in range(columns):
            writer.element(writer.entry, f"b{k}.{j}", "b", str(k * form.right[0] + j * form.right[1]))
            name = f"%b{k}" if j == columns - 1 else f"%b{k}.{j}.row"
            writer.entry.append(f"{name} = insertelement {writer.row} {before}, {writer.kind} %b{k}.{j}, i64 {j}")
            before = name
    writer.body.append(f"%begin = mul nuw nsw i64 %i, {terms}")
    total = "zeroinitializer"
    for k in range(terms):
        writer.body.append(f"%a{k}.place = add nuw nsw i64 %begin, {k}")
        writer.element(writer.body, f"a{k}", "a", f"%a{k}.place")
        total = writer.fused(f"t{k}", writer.all_of(f"a{k}"), f"%b{k}", total)
    writer.body.append(f"%place = mul nuw nsw i64 %i, {columns}")
    writer.store(writer.body, "out", total, "%place")
    return writer.text()


def _terms_text(form: ProductForm) -> str:
    """Write a small result of many terms, which stays in registers until the last term: p[6 + 2] is the number of terms."""
    rows, _, columns = form.sizes
    writer = _ProductWriter(form, 8)
    writer.body.append(f"%b.place = mul nuw nsw i64 %i, {columns}")
    writer.body.append(f"%b.at = getelementptr {writer.kind}, ptr %b, i64 %b.place")
    writer.body.append(f"%b.row = load {writer.row}, ptr %b.at, align 4")
    writer.body.append(f"%a.place = mul nuw nsw i64 %i, {rows}")
    for m in range(rows):
        writer.sums.append(f"%sum{m} = phi {writer.row} [ zeroinitializer, %entry ], [ %next{m}, %step ]")
        writer.body.append(f"%a{m}.place = add nuw nsw i64 %a.place, {m}")
        writer.element(writer.body, f"a{m}", "a", f"%a{m}.place")
        total = writer.fused(f"next{m}", writer.all_of(f"a{m}"), "%b.row", f"%sum{m}")
        writer.store(writer.last, f"out{m}", total, str(m * columns))
    return writer.text()
