"""Short products inside of passes: half the launches of a small network's step, the same numbers in every order of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bpengine_cupy.cuda_target.codegen.passes import dot
from bpengine_cupy.cuda_target.codegen.program_text import CudaText, write_cuda
from bpengine_cupy.cuda_target.compiler import compile_cuda, resources
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.target import FEW, SHORT, CudaTarget
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import flushed
from bpengine_steps.ir import StepGraph
from bpengine_steps.plan import make_plan
from bpengine_steps.signature import Signature, leaves
from bpengine_steps.tracing import record

import bpengine as bp
from bpengine.backend import Backend
from tests.backends.cuda_host import played_cupy
from tests.backends.cuda_host.oracle import Disagreement, Oracle
from tests.backends.cuda_host.played_steps import NETWORKS, STEPS, Network, training
from tests.backends.cuda_host.player import ORDERS, Player
from tests.tolerances import compiled_state_rtol, launch_rtol

Array = np.ndarray[Any, Any]
RATE = np.ones(1)


def mlp(layers: int) -> Network:
    dense = [bp.Dense(24, "relu") for _ in range(layers - 1)]
    return Network(20, (*dense, bp.Dense(10)), "softmax_cross_entropy", 40, 10)


def products(text: CudaText) -> int:
    return sum(call.product is not None for call in text.calls)


def dots(text: CudaText) -> int:
    return sum(node.op == "dot" for stage in text.plan.stages for group in stage.groups for node in group.nodes)


@pytest.mark.parametrize("layers", range(2, 7))
def test_a_layer_takes_two_launches_instead_of_five(layers: int) -> None:
    """The head, a pass for each hidden layer and direction, the loss, and the tail with all weight gradients."""
    text = training(mlp(layers), "float32", dots=True).text
    assert (len(text.calls), products(text), dots(text)) == (2 * layers + 1, 0, 3 * layers - 1)
    assert len(training(mlp(layers), "float32").text.calls) == 5 * layers


@pytest.mark.thorough(keep=4)
@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_launch_computes_numpys_result(name: str, dtype: str) -> None:
    trained = training(NETWORKS[name], dtype, dots=True)
    assert not products(trained.text)
    oracle = Oracle(trained.text)
    try:
        state, _ = trained.play(oracle)
    except Disagreement as error:  # without the frames: a call's repr writes every path through its graph
        pytest.fail(str(error), pytrace=False)
    assert not oracle.unchecked
    assert oracle.worst > 0
    wanted, _ = trained.wanted
    for path, array in wanted.items():
        scale = np.abs(array).max(initial=0.0)
        np.testing.assert_allclose(state[path], array, atol=scale * compiled_state_rtol(dtype, STEPS), rtol=0)
    for order in ORDERS.values():
        again, _ = trained.play(Player(order))
        assert all(array.tobytes() == state[path].tobytes() for path, array in again.items())


# what can stand around a product, of x (24, 8), w (8, 12), v (12, 8) and u (24, 1)
AROUND: dict[str, Callable[..., Any]] = {
    "alone": lambda x, w, v, u: x @ w,
    "transposed right": lambda x, w, v, u: np.tanh(x @ v.T),
    "transposed left": lambda x, w, v, u: x.T @ u * 0.5,
    "both transposed": lambda x, w, v, u: w.T @ x.T + 1.0,
    "transposed result": lambda x, w, v, u: (x @ w).T * 2.0,
    "slices": lambda x, w, v, u: x[1:, 1:6] @ w[:5, 2:] - x[2:3, :5] @ w[3:, 2:],
    "every other": lambda x, w, v, u: x[::2, ::2] @ w[1::2, ::3],
    "one column": lambda x, w, v, u: x @ w[:, :1],
    "one row": lambda x, w, v, u: x[:1] @ w * 3.0,
    "largest of a row": lambda x, w, v, u: np.max(x @ w, axis=1, keepdims=True),
    "sum of a row": lambda x, w, v, u: x @ w / np.sum(np.exp(x @ w), axis=1, keepdims=True),
    "column sums": lambda x, w, v, u: np.sum(x @ w, axis=0),
    "sum of all": lambda x, w, v, u: np.sum(x @ w * (x @ v.T)),
    "a number of each row": lambda x, w, v, u: np.tanh(x @ v[:1].T) * (x @ w) + u,
    "a row as numbers of rows": lambda x, w, v, u: (x[:1] @ w).T * v - np.max(v, axis=1, keepdims=True),
    "a sum and a product": lambda x, w, v, u: np.sum(x @ w, axis=0) + (x[:1] @ w)[0],
    "two in turn": lambda x, w, v, u: (x @ w) @ v,
    "a product of products": lambda x, w, v, u: (x @ w).T @ (x @ v.T),
    "broadcast operand": lambda x, w, v, u: np.broadcast_to(u, (24, 8)) @ w,
    "bias and relu": lambda x, w, v, u: np.maximum(x @ w + v[:, 0], 0.0),
}


def text_of(step: Any, state: Any) -> CudaText:
    recorded = record(step, state, Signature.of(state, (), None, RATE))
    return write_cuda(make_plan(recorded, CudaTarget("float64", dots=True), ordered=False))


def assert_numpys(step: Any, state: dict[str, Any]) -> CudaText:
    """Run a step once in each order of threads, with the same bits, and compare it with NumPy."""
    text, first = text_of(step, state), dict[Any, Array]()
    with np.errstate(all="ignore"), flushed():
        copied = {name: array.copy() for name, array in state.items()}
        wanted = dict(leaves(Backend.run_epoch(NumpyBackend("float64"), step, copied, (), None, RATE)[0]))
        for order in ORDERS.values():
            before = {name: array.copy() for name, array in state.items()}
            after = dict(leaves(CudaProgram(text, Player(order)).run(before, (), None, RATE)[0]))
            first = first or after
            for path, want in wanted.items():
                assert after[path].tobytes() == first[path].tobytes(), f"{path} depends on the order of threads"
                scale = float(np.abs(want).max(initial=0.0))
                np.testing.assert_allclose(after[path], want, atol=launch_rtol("float64") * scale, err_msg=str(path))
    return text


@pytest.mark.usefixtures("played")
def test_whatever_stands_around_a_product(rng: np.random.Generator) -> None:
    """All in one step, so that they are compiled once."""
    shapes = {"x": (24, 8), "w": (8, 12), "v": (12, 8), "u": (24, 1)}
    operands = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    state = {**operands, **{name: np.zeros(np.shape(f(*operands.values()))) for name, f in AROUND.items()}}

    def step(tree: Any, _: Any, lr: Any) -> Any:
        values = [tree[name] for name in shapes]
        return {**tree, **{name: f(*values) for name, f in AROUND.items()}}, {"halt": lr[0] != lr[0]}

    text = assert_numpys(step, state)
    assert not products(text)
    assert "dot<f8, 8, 1, 1, 2>" in text.source, "both operands along their rows: 16 bytes at a time"
    assert "dot<f8, 8, 1, 12, 1>" in text.source


@pytest.mark.usefixtures("played")
def test_state_that_its_own_update_multiplies_is_not_written_over_meanwhile(rng: np.random.Generator) -> None:
    """Other threads still read the old state: a new one in its place would depend on which of them comes first."""

    def step(tree: Any, _: Any, lr: Any) -> Any:
        w = tree["w"]
        return {"w": w - 0.1 * (w @ w), "v": tree["v"] - 0.1 * (w.T @ tree["v"])}, {"halt": lr[0] != lr[0]}

    text = assert_numpys(step, {"w": rng.normal(size=(40, 40)), "v": rng.normal(size=(40, 40))})
    assert dots(text) == 2


@pytest.mark.parametrize("fault", ["t < K; ++t", "t < K; t += V", "a[t * A]", "b + t)"])
@pytest.mark.usefixtures("played")
def test_a_fault_in_the_sum_of_a_product_is_noticed(fault: str) -> None:
    instead = {
        "t < K; ++t": "t < K - 1; ++t", "t < K; t += V": "t < K - V; t += V", "a[t * A]": "a[(t ^ 1) * A]", "b + t)": "b)",
    }  # fmt: skip
    trained = training(NETWORKS["relu, Adam"], "float64", dots=True)
    oracle = Oracle(trained.text, change=lambda text: text.replace(fault, instead[fault]))
    with pytest.raises(Disagreement, match="eps from NumPy"):
        trained.play(oracle)


@pytest.mark.parametrize(
    ("m", "k", "n", "short"),
    [
        (32, SHORT, 64, True), (32, SHORT + 1, 64, False),
        (FEW // 64 // 32, 32, 64, True), (FEW // 64 // 32 + 1, 32, 64, False),
        (1, 8, 1, False), (1, 8, 2, True), (3, 0, 2, False),
    ],
)  # fmt: skip
def test_long_products_and_large_ones_stay_cublaslts(m: int, k: int, n: int, short: bool) -> None:
    graph = StepGraph()
    a, b = (graph.add("input", (), shape, "f4", ("state", (str(shape),))) for shape in ((m, k), (k, n)))
    product = graph.add("matmul", [a, b], (m, n), "f4")
    for precision, epilogues, wanted in (
        ("float32", False, short), ("float64", False, short), ("float32", True, False), ("tf32", False, short),
        ("bfloat16", False, False),
    ):  # fmt: skip
        lowered = CudaTarget(precision, epilogues=epilogues, dots=True).lower(graph, product, [a, b])
        assert (lowered is not None) == wanted
        assert lowered is None or lowered.op == "dot"
    assert CudaTarget("float32").lower(graph, product, [a, b]) is None


def test_a_constant_that_is_no_array_in_memory_stays_cublaslts_operand() -> None:
    graph = StepGraph()
    ones, b = graph.constant(np.ones((4, 8), "f4")), graph.add("input", (), (8, 3), "f4", ("state", ("b",)))
    product = graph.add("matmul", [ones, b], (4, 3), "f4")
    assert CudaTarget(dots=True).lower(graph, product, [ones, b]) is None


@pytest.mark.parametrize(
    ("shape", "offset", "strides", "vector"),
    [
        ((6, 8), 0, (8, 1), 4), ((6, 8), 4, (8, 1), 4), ((6, 8), 2, (8, 1), 1), ((6, 8), 0, (10, 1), 1),
        ((6, 7), 0, (8, 1), 1),
        ((6, 8), 0, (1, 6), 1), ((6, 8), 0, (0, 1), 4),
    ],
)  # fmt: skip
@pytest.mark.parametrize("right", [False, True])
def test_sixteen_bytes_are_read_at_once_only_from_places_that_are_multiples(
    shape: tuple[int, int], offset: int, strides: tuple[int, int], vector: int, right: bool
) -> None:
    """The CPU would read them from anywhere; a GPU ends the program."""
    graph = StepGraph()
    base, other = (graph.add("input", (), (100,), "f4", ("state", (name,))) for name in ("a", "b"))
    view = graph.add("view", [base], shape, "f4", (offset, strides))
    plain = graph.add("view", [other], (8, shape[1]), "f4", (0, (8, 1)))
    first, second = (plain, view) if right else (view, plain)
    turned = graph.add("view", [second.base], second.shape[::-1], "f4", (second.offset, second.strides[::-1]))
    node = graph.add("dot", [first, turned], (first.shape[0], turned.shape[1]), "f4")
    along = first.strides[1], turned.strides[0]
    assert dot(node, lambda operand: operand.number, "i", "j").startswith(
        f"dot<f4, {shape[1]}, {along[0]}, {along[1]}, {vector}>"
    )


@pytest.mark.thorough(keep=2)
@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("arch", [80, 90, 100])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_fit_a_threads_registers(dtype: str, arch: int) -> None:
    small = Network(64, (bp.Dense(64, "relu"), bp.Dense(64, "relu"), bp.Dense(10)), "softmax_cross_entropy", 32, 10)
    kernels = resources(compile_cuda(training(small, dtype, dots=True).text.source, arch)[1])
    assert len(kernels) == 7
    assert not any(needs.spilled for needs in kernels.values())
    assert max(needs.registers for needs in kernels.values()) <= {"float32": 96, "float64": 140}[dtype]


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(("precision", "launched"), [("float32", 0), ("float64", 0), ("tf32", 0), ("bfloat16", 5)])
def test_the_backend_computes_a_small_networks_products_in_its_passes(
    precision: str, launched: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    texts = list[CudaText]()
    bind = CudaProgram.bind
    monkeypatch.setattr(CudaProgram, "bind", lambda self, *a: texts.append(self.text) or bind(self, *a))
    played_cupy.play(monkeypatch, Player)
    network = bp.Network(5, [bp.Dense(6, "relu"), bp.Dense(3)], "softmax_cross_entropy")
    x, y = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
    dtype = "float64" if precision == "float64" else "float32"
    model = bp.Model(network, bp.get_backend("cupy", precision=precision), dtype=dtype, seed=1)
    model.fit(x, y, batch_size=20, epochs=1)
    assert {products(text) for text in texts} == {launched}
