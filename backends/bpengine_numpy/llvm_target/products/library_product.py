"""Products by a chosen BLAS library: its `cblas_sgemm` or `cblas_dgemm`, called by address once for each product."""

from __future__ import annotations

from bpengine_steps.ir import StepNode

from bpengine_numpy.blas.blas_library import ROW_MAJOR, BlasLibrary
from bpengine_numpy.blas.product_call import ProductCall
from bpengine_numpy.llvm_target.expressions import type_of

_ARGUMENTS = (
    "gemm", "a", "b", "y", "blocks", "a.step", "b.step", "y.step", "left", "right", "rows", "terms", "columns", "a.width",
    "b.width",
)  # fmt: skip
_POINTERS = ("gemm", "a", "b", "y")
_NARROWED = ("rows", "terms", "columns", "a.width", "b.width")  # whole numbers of the library's interface
_TEXT = """; Call a function of CBLAS for each block.
; p = ({arguments}); steps are in bytes
define void @bp_gemm(ptr %p) "no-builtins" {{
entry:
{entry}
  br label %block

block:
  %k = phi i64 [ 0, %entry ], [ %k.next, %block ]
  %a.at = mul nsw i64 %k, %a.step
  %b.at = mul nsw i64 %k, %b.step
  %y.at = mul nsw i64 %k, %y.step
  %a.k = getelementptr i8, ptr %a, i64 %a.at
  %b.k = getelementptr i8, ptr %b, i64 %b.at
  %y.k = getelementptr i8, ptr %y, i64 %y.at
  call void %gemm(i32 {row_major}, i32 %left.n, i32 %right.n, {n} %rows.n, {n} %columns.n, {n} %terms.n, {real} 1.0,
    ptr %a.k, {n} %a.width.n, ptr %b.k, {n} %b.width.n, {real} 0.0, ptr %y.k, {n} %columns.n)
  %k.next = add nuw nsw i64 %k, 1
  %over = icmp eq i64 %k.next, %blocks
  br i1 %over, label %end, label %block

end:
  ret void
}}
"""


def library_of(node: StepNode) -> BlasLibrary | None:
    """Return the library that a product was recorded with, None for any other node."""
    return node.info if node.op == "matmul" and isinstance(node.info, BlasLibrary) else None


def library_source(node: StepNode) -> str | None:
    """Return the text of the function that calls the library of a product, None where there is no such library."""
    library = library_of(node)
    if library is None:
        return None
    whole, entry = f"i{library.bits}", list[str]()
    for place, name in enumerate(_ARGUMENTS):
        entry.append(f"%{name}.p = getelementptr i64, ptr %p, i64 {place}")
        entry.append(f"%{name} = load {'ptr' if name in _POINTERS else 'i64'}, ptr %{name}.p")
    entry += [f"%{name}.n = {_narrowed(name, whole)}" for name in _NARROWED]
    entry += [f"%{name}.n = trunc i64 %{name} to i32" for name in ("left", "right")]
    return _TEXT.format(
        arguments=", ".join(_ARGUMENTS), entry="\n".join(f"  {line}" for line in entry), row_major=ROW_MAJOR, n=whole,
        real=type_of(node.dtype),
    )  # fmt: skip


def _narrowed(name: str, whole: str) -> str:
    return f"add i64 %{name}, 0" if whole == "i64" else f"trunc i64 %{name} to {whole}"


def library_arguments(node: StepNode, addresses: tuple[int, int, int]) -> list[int]:
    """Return the arguments of the function for a product's arrays at these addresses."""
    library, (a, b) = library_of(node), node.inputs
    call = ProductCall.of(a.shape, a.strides, b.shape, b.strides)
    assert library is not None
    assert call is not None  # the library was chosen for this call
    item = node.dtype.itemsize
    steps = [x.strides[0] * item if len(x.shape) == 3 else 0 for x in (a, b, node)]
    blocks = a.shape[0] if len(a.shape) == 3 else 1
    return [library.address(node.dtype), *addresses, blocks, *steps, call.left, call.right, *call.sizes, *call.widths]
