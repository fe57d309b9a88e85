"""Operands of products in bfloat16: rounding to the nearest on the host and in CUDA, and what cuBLASLt is told."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from bpengine_cupy.cuda_target.bfloat16 import COPY, ROUND, exact, rounded
from bpengine_cupy.cuda_target.codegen.program_text import CudaText, write_cuda
from bpengine_cupy.cuda_target.compiler import compile_cuda, resources
from bpengine_cupy.cuda_target.cublaslt.library import CublasLt, DescribedProduct
from bpengine_cupy.cuda_target.cublaslt.products import MatrixProduct, Operand
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.target import CudaTarget
from bpengine_steps.plan import make_plan
from bpengine_steps.signature import Signature
from bpengine_steps.tracing import record

from tests.backends.cuda_host.player import ORDERS, Player


def numbers(rng: np.random.Generator) -> Any:
    """Return float32 numbers of all sizes, halfway between two of bfloat16, not finite and denormal ones among them."""
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint32)
    ties = bits[:1000] & np.uint32(0xFFFF0000) | np.uint32(0x8000)
    ends = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3.4e38, -3.4e38, 1e-45, 1e-39], np.float32)
    return np.concatenate([bits.view(np.float32), ties.view(np.float32), (ties ^ 1).view(np.float32), ends])


def same(got: Any, want: Any) -> None:
    """Compare bits; NaN is NaN whatever its payload."""
    nan = np.isnan(exact(want))
    np.testing.assert_array_equal(np.isnan(exact(got)), nan)
    np.testing.assert_array_equal(got[~nan], want[~nan])


def test_rounding_is_that_of_ml_dtypes(rng: np.random.Generator) -> None:
    x = numbers(rng)
    with np.errstate(all="ignore"):
        want = x.astype(ml_dtypes.bfloat16)
    same(rounded(x), want.view(np.uint16))
    np.testing.assert_array_equal(exact(rounded(x)), want.astype(np.float32))


def text_of(step: Any, state: Any, data: Any, order: Any, lr: Any) -> CudaText:
    recorded = record(step, state, Signature.of(state, data, order, lr))
    return write_cuda(make_plan(recorded, CudaTarget("bfloat16"), ordered=order is not None))


def multiplied(state: Any, rows: Any, lr: Any) -> Any:
    (x,) = rows
    y = x @ state["w"]
    return {**state, "w": state["w"] + lr * (x.T @ y), "y": y}, {"halt": np.sum(y) != np.sum(y)}


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("ordered", [True, False])
def test_rows_weights_and_updates_are_rounded_to_the_nearest(ordered: bool, rng: np.random.Generator) -> None:
    """Each step's product is that of the rounded rows and the rounded weights, which are updated in float32."""
    x, w = rng.normal(size=(6, 7)).astype("f4"), rng.normal(size=(7, 5)).astype("f4")
    state = {"w": w, "y": np.zeros((6, 5), "f4")}
    order = np.array([[5, 4, 3, 2, 1, 0]] * 3, np.int32) if ordered else None
    lr = np.full(3, 0.01, "f4")
    taken = exact(rounded(x[::-1] if ordered else x))
    for _ in lr:
        y = taken @ exact(rounded(w))
        w = w + np.float32(0.01) * (taken.T @ exact(rounded(y)))
    text = text_of(multiplied, state, (x,), order, lr)
    assert text.begin is not None
    for threads in ORDERS.values():
        after, _ = CudaProgram(text, Player(threads)).run(state, (x,), order, lr)
        assert after.keys() == state.keys()
        np.testing.assert_array_equal(after["y"], y)
        np.testing.assert_array_equal(after["w"], w)


def test_rounded_copy_of_a_weight_is_a_hidden_state() -> None:
    state = {"w": np.zeros((7, 5), "f4"), "y": np.zeros((6, 5), "f4")}
    text = text_of(multiplied, state, (np.zeros((6, 7), "f4"),), np.zeros((1, 6), np.int32), np.zeros(1, "f4"))
    copies = [path for path in text.plan.step.inputs if path[0] == COPY]
    assert copies == [(COPY, "w")]
    assert text.plan.step.inputs[copies[0]].dtype == np.uint16
    assert text.plan.step.rows[0].number not in text.plan.memory.stored  # only the rounded rows are taken


@pytest.mark.usefixtures("played")
def test_a_pass_rounds_as_the_host_does(rng: np.random.Generator) -> None:
    """Numbers of every kind pass through the kernel; a product with the identity returns each."""
    x = numbers(rng)
    x = rng.permutation(x[np.isfinite(x) & (np.abs(x) < 1e38) & (np.abs(x) > 1e-37)])[:1024].reshape(32, 32)
    assert ((x.view(np.uint32) & 0x1FFFF) == 0x8000).any()  # halfway, with the even one below

    def step(state: Any, rows: Any, lr: Any) -> Any:
        return {**state, "out": (state["x"] * 1.0) @ state["one"]}, {"halt": lr[0] != lr[0]}

    state = {"x": x, "one": np.eye(32, dtype="f4"), "out": np.zeros((32, 32), "f4")}
    text = text_of(step, state, (), None, np.ones(1, "f4"))
    after, _ = CudaProgram(text, Player()).run(state, (), None, np.ones(1, "f4"))
    np.testing.assert_array_equal(after["out"], exact(rounded(x)))


def test_operand_is_stored_by_its_pass_even_for_a_late_product() -> None:
    def step(state: Any, rows: Any, lr: Any) -> Any:
        y = np.exp(rows[0] @ state["w"])
        z = np.tanh((y * 2.0) @ state["v"])
        late = y.T @ np.exp(z @ state["v"])
        return {**state, "v": state["v"] - lr * late}, {"halt": np.sum(z) != np.sum(z)}

    state = {"w": np.zeros((6, 5), "f4"), "v": np.zeros((5, 5), "f4")}
    arguments = state, (np.zeros((9, 6), "f4"),), np.zeros((1, 7), np.int32), np.zeros(1, "f4")
    recorded = record(step, state, Signature.of(*arguments))
    plain, text = write_cuda(make_plan(recorded, CudaTarget(), ordered=True)), text_of(step, *arguments)
    assert len(text.calls) == len(plain.calls)
    maker = {node.number: group for group in text.plan.groups for node in group.nodes}
    copies = [node for group in text.plan.groups for node in group.nodes if node.info == ROUND]
    assert len(copies) == 5  # y, y times 2, z, exp of the last product, and the new v
    assert all(maker[copy.number] is maker[copy.inputs[0].number] for copy in copies)


class Described:
    """cuBLASLt that notes how products and matrices are described."""

    def __init__(self) -> None:
        self.products: list[tuple[int, int]] = []
        self.matrices: list[int] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "cublasLtMatmulDescCreate":
                self.products.append((arguments[1].value, arguments[2].value))
            if name == "cublasLtMatrixLayoutCreate":
                self.matrices.append(arguments[1].value)
            return 0

        return call


@pytest.mark.parametrize(
    ("precision", "rounded_operands", "compute", "operands"),
    [("bfloat16", True, 68, 14), ("bfloat16", False, 75, 0), ("tf32", False, 77, 0), ("float32", False, 68, 0)],
)
def test_cublaslt_gets_the_compute_type_and_operand_types(
    precision: str, rounded_operands: bool, compute: int, operands: int
) -> None:
    """CUBLAS_COMPUTE_32F is 68, CUDA_R_16BF 14, CUDA_R_32F 0: sums and results are float32 always."""
    library: Any = Described()
    left, right = Operand(0, False, 3), Operand(1024, True, 4)
    product = MatrixProduct(m=3, n=4, k=5, a=left, b=right, d=2048, dtype="f4", rounded=rounded_operands)
    described = DescribedProduct(CublasLt(library), product, 1 << 20, precision)
    assert library.products == [(compute, 0)]
    assert library.matrices == [operands, operands, 0]
    assert (" bf16 " in described.key) == rounded_operands


@pytest.mark.usefixtures("nvrtc")
def test_step_in_bfloat16_compiles_without_register_spills() -> None:
    from tests.backends.test_cuda_program import training_text

    text = training_text("mlp", "float32", precision="bfloat16")
    kernels = resources(compile_cuda(text.source)[1])
    assert kernels.keys() == {"begin", *(call.name for call in text.calls if call.product is None)}
    assert not [name for name, needs in kernels.items() if needs.spilled]
    assert max(needs.registers for needs in kernels.values()) <= 96
    assert len(text.calls) == 5 * 3
