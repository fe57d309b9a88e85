"""Products for cuBLASLt: their description, and which algorithm is taken, without a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_cupy.cuda_target.cublaslt.algorithms import ChosenAlgorithms
from bpengine_cupy.cuda_target.cublaslt.library import Algorithm, CublasLt, CublasLtError, DescribedProduct
from bpengine_cupy.cuda_target.cublaslt.products import MatrixProduct, Operand, product_of
from bpengine_steps.ir import StepGraph, Untraceable
from bpengine_steps.memory_plan import MemoryPlan
from bpengine_steps.tracing import TracedArray

from tests.backends.cuda_host.matmul_model import multiply
from tests.tolerances import agreement_rtol

SHAPES = [(5, 7, 3), (1, 7, 3), (5, 1, 3), (5, 7, 1), (1, 2, 1)]


def product_node(left: Any, right: Any, look: Callable[[Any, Any], Any]) -> Any:
    """Return the node of a product of two inputs, looked at as `look` says."""
    graph = StepGraph()
    a, b = (graph.add("input", (), x.shape, x.dtype, k) for k, x in enumerate((left, right)))
    return look(TracedArray(graph, a), TracedArray(graph, b)).node


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("look", ["plain", "left", "right", "both"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_described_product_is_numpys(shape: Any, look: str, dtype: str, rng: np.random.Generator) -> None:
    m, k, n = shape
    left = rng.normal(size=(k, m) if look in ("left", "both") else (m, k)).astype(dtype)
    right = rng.normal(size=(n, k) if look in ("right", "both") else (k, n)).astype(dtype)
    turned = {
        "plain": lambda a, b: a @ b,
        "left": lambda a, b: a.T @ b,
        "right": lambda a, b: a @ b.T,
        "both": lambda a, b: a.T @ b.T,
    }[look]
    node = product_node(left, right, turned)
    memory = np.zeros(4096, np.uint8)
    places = {node.inputs[0].base.number: 0, node.inputs[1].base.number: 1024, node.number: 2048}
    for at, array in ((0, left), (1024, right)):
        memory[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
    multiply(product_of(node, MemoryPlan(places=places)), memory.ctypes.data)
    got = memory[2048 : 2048 + m * n * left.itemsize].view(dtype).reshape(m, n)
    want = turned(left.astype("f8"), right.astype("f8"))
    np.testing.assert_allclose(got, want, atol=agreement_rtol(dtype, k) * np.abs(want).max())


@pytest.mark.parametrize(
    "look",
    [lambda a, b: a[::-1] @ b, lambda a, b: np.broadcast_to(a[:1], a.shape) @ b, lambda a, b: a[:, ::2] @ b[::2, ::2]],
    ids=["backwards", "repeated", "apart both ways"],
)
def test_what_cublaslt_cannot_read_is_not_recorded(look: Any) -> None:
    node = product_node(np.zeros((4, 4)), np.zeros((4, 6)), look)
    with pytest.raises(Untraceable, match="a product of an array"):
        product_of(node, MemoryPlan(places=dict.fromkeys(range(9), 0)))


def test_first_stored_choice_is_kept(tmp_path: Path) -> None:
    one, other = ChosenAlgorithms(tmp_path), ChosenAlgorithms(tmp_path)
    assert one.get("p") is None
    assert one.keep("p", b"first") == b"first"
    assert other.keep("p", b"second") == b"first"
    assert ChosenAlgorithms(tmp_path).get("p") == b"first"
    assert one.get("q") is None
    assert [path.suffix for path in tmp_path.iterdir()] == [".algorithm"]


def test_a_folder_that_cannot_be_written_keeps_the_choice_for_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    chosen = ChosenAlgorithms(tmp_path / "file" / "folder")
    assert chosen.keep("p", b"first") == b"first"
    assert chosen.get("p") == b"first"
    assert chosen.get("q") is None


class Timed(DescribedProduct):
    """A product whose candidates take known times."""

    key = "p"

    def __init__(self, seconds: list[float]) -> None:
        self.seconds, self.algorithm = seconds, None

    def candidates(self) -> list[Algorithm]:
        return [self.named(k) for k in range(len(self.seconds))]

    @staticmethod
    def named(number: int) -> Algorithm:
        return Algorithm.from_buffer_copy(bytes([number]) * 64)

    @property
    def number(self) -> int:
        return bytes(self.algorithm or Algorithm())[0]

    def launch(self, stream: int, workspace: int) -> None:
        self.launched = self.number

    def time(self, work: Callable[[], None]) -> float:
        work()
        return self.seconds[self.launched]


def test_fastest_candidate_is_chosen_and_reused(tmp_path: Path) -> None:
    product, later = Timed([3.0, 1.0, 2.0]), Timed([0.5, 9.0, 9.0])
    product.choose(ChosenAlgorithms(tmp_path), product.time, 0, 0)
    assert product.number == 1
    later.choose(ChosenAlgorithms(tmp_path), lambda work: pytest.fail("timed again"), 0, 0)
    assert later.number == 1


def test_no_candidate_is_an_error_that_names_the_product(tmp_path: Path) -> None:
    with pytest.raises(CublasLtError, match="no algorithm for the product p"):
        Timed([]).choose(ChosenAlgorithms(tmp_path), lambda work: 0.0, 0, 0)


def test_candidate_that_cannot_run_is_skipped(tmp_path: Path) -> None:
    class Failing(Timed):
        def launch(self, stream: int, workspace: int) -> None:
            super().launch(stream, workspace)
            if self.number == 0:
                raise CublasLtError("cublasLtMatmul answered with status 15")

    product = Failing([0.1, 2.0, 1.0])
    product.choose(ChosenAlgorithms(tmp_path), product.time, 0, 0)
    assert product.number == 2


class FakeLibrary:
    """cuBLASLt that only counts what is created and destroyed."""

    def __init__(self) -> None:
        self.calls = Counter[str]()

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls[name.removeprefix("cublasLt")] += 1
            return 0

        return call


def test_descriptions_go_with_their_product() -> None:
    library: Any = FakeLibrary()
    described = MatrixProduct(m=3, n=4, k=5, a=Operand(0, False, 3), b=Operand(1024, True, 4), d=2048, dtype="f4")
    product = DescribedProduct(CublasLt(library), described, 1 << 20, "float32")
    assert library.calls["MatmulDescDestroy"] == 0
    del product
    assert library.calls["MatmulDescDestroy"] == library.calls["MatmulDescCreate"] == 1
    assert library.calls["MatrixLayoutDestroy"] == library.calls["MatrixLayoutCreate"] == 3
