"""Compiled epochs give the numbers of the kernels on NumPy, to the last bit; what cannot be recorded runs as it is written."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from bpengine_numpy.llvm_target import call_table, compiled_epochs, compiled_step
from bpengine_numpy.llvm_target import executable as executable_module
from bpengine_numpy.llvm_target.blas_threads import LEAST, Team, jobs, pieces, team
from bpengine_numpy.llvm_target.executable import Executable
from bpengine_numpy.llvm_target.self_test import openblas
from bpengine_numpy.llvm_target.self_test.openblas import JOB, NEXT
from bpengine_steps.ir import StepGraph, Untraceable
from bpengine_steps.signature import Signature, leaves
from bpengine_steps.tracing import TracedArray

import bpengine as bp
from bpengine.backend import Backend
from bpengine.kernels import KERNELS
from bpengine.kernels._functions import LONGEST, row_product
from bpengine.kernels._kernel import extent
from tests.backends.beside import lends
from tests.backends.fits import BATCH_NORM, FITS, STEPS, rows_for, step_of

AT_ONCE = float("-inf")  # patience


class Both(NumpyBackend):
    """Runs every epoch twice, as it is written and compiled, and demands the same bits."""

    steps = 0

    def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
        plain = Backend.run_epoch(self, step, self.copy(state), data, order, lr)
        compiled = compiled_step(step, state, Signature.of(state, data, order, lr)).run(state, data, order, lr)
        assert dict(leaves(plain)).keys() == dict(leaves(compiled)).keys()
        for (path, expected), (_, got) in zip(leaves(plain), leaves(compiled), strict=True):
            np.testing.assert_array_equal(got, expected, strict=True, err_msg=str(path))
        Both.steps += len(lr)
        return compiled


ROUTINE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
EXECUTE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_long, ctypes.c_void_p)


@EXECUTE
def one_after_another(count: int, jobs: int) -> int:
    """Run a queue of jobs as OpenBLAS does, the last one first."""
    queue = []
    for _ in range(count):
        queue.append(np.frombuffer((ctypes.c_int64 * JOB).from_address(jobs), np.int64))
        jobs = int(queue[-1][NEXT])
    for job in reversed(queue):
        ROUTINE(int(job[0]))(int(job[3]))
    return 0


ADDRESS = ctypes.cast(one_after_another, ctypes.c_void_p).value or 0


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FITS)
def test_compiled_fits_have_the_same_bits_as_the_kernels(
    name: str, dtype: str, threads: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpengine_numpy.llvm_target.blas_threads.LEAST", 1)
    monkeypatch.setattr("bpengine_numpy.llvm_target.blas_threads.GRAIN", 1)
    monkeypatch.setattr("bpengine_numpy.llvm_target.blas_threads.team", lambda: Team(ADDRESS, threads))
    layers, loss, settings = FITS[name]
    penalties = [bp.L2(0.01), bp.L1(0.01), bp.L2(0.1, per_sample=True)] if "clip_norm" in settings else []
    model = bp.Model(bp.Network(4, layers, loss, penalties), Both(precision=dtype), dtype=dtype, seed=1)
    outputs = model.forward(np.zeros((1, 4))).shape[1]
    x, weights = rng.normal(size=(29, 4)), rng.uniform(0.5, 2, 29) if "optimizer" in settings else None
    before = Both.steps
    model.fit(x, rows_for(loss, 29, outputs, rng), weights=weights, batch_size=8, epochs=2, **settings)
    assert Both.steps == before + 8


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows", [4097, 4160, 8192, 20_001])
def test_compiled_steps_over_many_rows_have_the_same_bits_as_the_kernels(
    rows: int, threads: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums and products over more rows than usual come in blocks, and are recorded so."""
    monkeypatch.setattr("bpengine_numpy.llvm_target.blas_threads.LEAST", 1)
    monkeypatch.setattr("bpengine_numpy.llvm_target.blas_threads.team", lambda: Team(ADDRESS, threads))
    layers = [bp.Dense(5, "tanh"), bp.BatchNorm(), bp.Dense(1, bias="column"), bp.Dense(2, bias=False), bp.LayerNorm()]
    model = bp.Model(bp.Network(3, layers, "mean_squared_error"), Both(), seed=1)
    before = Both.steps
    model.fit(rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2)), epochs=2)
    assert Both.steps == before + 2


@pytest.mark.parametrize("width", [3, 80])
def test_pointers_of_products_are_restored_for_each_step_of_a_run(width: int, rng: np.random.Generator) -> None:
    """NumPy's loop of products moves the pointers it is given: each step needs them as they were."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        (x,) = rows
        product = row_product(np, x, x + lr)
        return {"sum": state["sum"] + product}, {"halt": ~np.isfinite(np.sum(product))}

    many = 5 * LONGEST + 5
    state, data = {"sum": np.zeros((width, width))}, (rng.normal(size=(3 * many, width)),)
    order, lr = np.arange(3 * many).reshape(3, many), np.full((3, 1), 0.5)
    Both(precision="float64").run_epoch(step, state, data, order, lr)


@pytest.mark.thorough(keep=1)
@pytest.mark.skipif(not lends(), reason="no OpenBLAS on Linux with a queue for others: no thread is lent")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_steps_on_the_threads_of_openblas_have_the_same_bits(
    dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert openblas.library() is not None
    if team().size == 1:  # fails where threads are there and not lent
        limits = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
        assert len(os.sched_getaffinity(0)) == 1 or "1" in map(os.environ.get, limits)
        pytest.skip("OpenBLAS has one thread: one core, or a limit in the environment")
    lent: list[int] = []
    queue = jobs
    monkeypatch.setattr(
        "bpengine_numpy.llvm_target.blas_threads.jobs", lambda calls, e: lent.append(len(calls)) or queue(calls, e)
    )
    layers = [bp.Dense(700, "relu"), bp.Dense(300, "tanh"), bp.Dense(3)]
    model = bp.Model(bp.Network(500, layers, "softmax_cross_entropy"), Both(precision=dtype), dtype=dtype, seed=1)
    x = rng.normal(size=(1024, 500))
    model.fit(x, rows_for("softmax_cross_entropy", 1024, 3, rng), batch_size=256, epochs=3, optimizer="adam")
    assert len(lent) > 20
    assert 2 <= min(lent) <= max(lent) <= team().size


def test_two_models_train_at_the_same_time_on_the_same_threads() -> None:
    def train(seed: int) -> Any:
        backend = NumpyBackend()
        backend._compiled = compiled_epochs(lambda *args: Backend.run_epoch(backend, *args), AT_ONCE)
        layers = [bp.Dense(700, "relu"), bp.Dense(300, "tanh"), bp.Dense(3)]
        model = bp.Model(bp.Network(500, layers, "softmax_cross_entropy"), backend, seed=seed)
        draw = np.random.default_rng(seed)
        x, y = draw.normal(size=(512, 500)), draw.integers(0, 3, 512)
        return model.fit(x, y, batch_size=256, epochs=4, optimizer="adam").loss.tolist()

    alone = [train(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(train, (1, 2))) == alone


@pytest.mark.parametrize(
    ("length", "moved", "most", "grain", "expected"),
    [
        (10, 10 * LEAST, 3, 1, [(0, 3), (3, 3), (6, 4)]),
        (300, 300 * LEAST, 2, 64, [(0, 128), (128, 172)]),
        (100, 100 * LEAST, 2, 64, [(0, 100)]),
        (1000, 2 * LEAST - 1, 4, 1, [(0, 1000)]),
        (2, 8 * LEAST, 4, 1, [(0, 1), (1, 1)]),
        (5, 5 * LEAST, 1, 1, [(0, 5)]),
        (0, 0, 4, 1, [(0, 0)]),
    ],
)
def test_work_is_cut_into_pieces(
    length: int, moved: int, most: int, grain: int, expected: list[tuple[int, int]]
) -> None:
    assert pieces(length, moved, most, grain) == expected


def test_unknown_blas_library_lends_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openblas, "KNOWN", "OpenBLAS 9.")
    monkeypatch.setattr(openblas, "library", openblas.library.__wrapped__)
    assert team() == Team(0, 1)


def test_uniform_constant_is_stored_as_one_element(rng: np.random.Generator) -> None:
    graph, held = StepGraph(), []

    class Holding(NumpyBackend):
        def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
            program = compiled_step(step, state, Signature.of(state, data, order, lr))
            held.append(sum(array.nbytes for array in program.plan.memory.constants.values()))
            return program.run(state, data, order, lr)

    node = graph.constant(np.full((30, 20), 0.5, np.float32))
    assert node.info.strides == (0, 0)
    assert node.uniform == 0.5
    assert graph.constant(np.full((30, 20), 0.5, np.float32)) is node
    for values in ([np.nan, 1.0], [0.0, -0.0]):
        other = graph.constant(np.array(values))
        assert other.uniform is None
        assert other.info.tobytes() == np.array(values).tobytes()
    model = bp.Model(bp.Network(4, [bp.Dense(50, "relu"), bp.Dense(3)], "softmax_cross_entropy"), Holding())
    model.fit(rng.normal(size=(64, 4)), rows_for("softmax_cross_entropy", 64, 3, rng), batch_size=32, epochs=1)
    assert held[0] < 32 * 50  # bytes: the zeros that relu compares with would be four times as many


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_can_be_recorded(name: str) -> None:
    kernel, graph = KERNELS[name], StepGraph()
    dims = {"B": 5, "I": 3, "O": 4}

    def recorded(shape: Any, kind: str = "f4") -> TracedArray:
        return TracedArray(graph, graph.add("input", (), shape, kind, len(graph.nodes)))

    kinds = {"counter": "u4", "boolean": "?"}
    inputs = [
        recorded(tuple(extent(d, dims) for d in kernel.shapes[a]), kinds.get(kernel.domain.get(a, ""), "f4"))
        for a in kernel.arguments
    ]
    for options in kernel.variants:
        outputs = kernel.forward(np, *inputs, **options)
        if kernel.backward:
            outputs = kernel.backward(np, outputs[1], recorded(outputs[0].shape))
    assert len(graph.nodes) > len(inputs) or name == "identity"


def run(function: Callable[..., Any], *arrays: Any) -> Any:
    """Return what a compiled function of arrays returns."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        result = function(*rows)
        return {"result": result}, {"halt": ~np.isfinite(lr)[0]}

    arrays = tuple(map(np.ascontiguousarray, arrays))
    state, lr = {"result": np.zeros_like(function(*arrays))}, np.ones(1, arrays[0].dtype)
    return compiled_step(step, state, Signature.of(state, arrays, None, lr)).run(state, arrays, None, lr)[0]["result"]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "transposed operand": lambda a, b: a.T + 2.0 * b[:4, :3].T.T.T,
    "slices": lambda a, b: a[1:, ::2] * b[:-1, 1:3] - a[:-1, :2],
    "sums": lambda a, b: np.sum(a) * np.sum(a * b, axis=0) + np.mean(b, axis=0),
    "row sums": lambda a, b: a / np.sum(np.exp(b), axis=1, keepdims=True) - np.max(b, axis=1, keepdims=True),
    "all at once": lambda a, b: np.max(a - b) - np.min(b) + np.mean(a, axis=(0, 1)),
    "all and any": lambda a, b: (
        np.all(a < 9.0, axis=1, keepdims=True) & np.any(a > b, axis=0) ^ np.any(b) ^ np.all(b - b)
    ),
    "a column": lambda a, b: np.sum(a[:, :1], axis=0) + np.sum(b[:, :1], axis=1),
    "joined": lambda a, b: np.concat([a, b[:, :1] * a[:, 1:2], b], axis=1),
    "stacked": lambda a, b: np.stack([a[0], b[1], a[2] * 2.0], axis=1),
    "products": lambda a, b: (a.T @ b) @ (b.T @ a),
    "mixed dtypes": lambda a, b: np.astype(a > b, a.dtype) * np.where(a > 0, a, -1.0),
    "comparisons": lambda a, b: np.astype((a >= b) | ~(a < 0.5) & np.isfinite(b), a.dtype) + np.sign(a) * abs(b),
    "limits": lambda a, b: np.clip(a, -0.5, 0.5) + np.maximum(b, 0.1) + np.minimum(a, b) + np.round(3.0 * a),
    "reshaped": lambda a, b: np.reshape(np.reshape(a, (2, 6)) * 2.0, (4, 3)) + np.reshape(b.T, (4, 3)),
    "broadcast": lambda a, b: a[:, None, 0] * b[None, 0, :] + a[:1, :] + b[:, 1:2],
    "a row of what dies here": lambda a, b: (lambda c: c * 2.0 - c[:1, :] + b)(np.exp(a)),
    "unchanged": lambda a, b: a,
}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_array_functions_give_numpys_bits(name: str, rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 4, 3)).astype(np.float32)
    expected = FUNCTIONS[name](a, b)
    np.testing.assert_array_equal(run(FUNCTIONS[name], a, b), expected, strict=True)


def test_nan_propagates_through_maximum_and_sign() -> None:
    a = np.array([[np.nan, -0.0, np.inf, -np.inf, 1e-45]], np.float32)
    for function in (lambda x: np.maximum(x, 0.0), lambda x: np.minimum(0.0, x), np.sign, np.isfinite):
        np.testing.assert_array_equal(run(lambda x, f=function: f(x), a), function(a), strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ufunc", [np.maximum, np.minimum])
def test_extremes_of_two_zeros_have_numpys_sign(ufunc: Any, dtype: str) -> None:
    """The sign depends on NumPy's vector instructions; where it varies between elements, equal numbers suffice."""
    pairs = np.tile(np.array([[-0.0, 0.0], [0.0, -0.0], [-0.0, -0.0], [0.0, 0.0], [1.0, -2.0]], dtype), (9, 1))
    for a, b in ((pairs[:, 0], pairs[:, 1]), (pairs[:, 0], 0.0), (-0.0, pairs[:, 0])):
        arrays = [array for array in (a, b) if isinstance(array, np.ndarray)]

        def function(*operands: Any, a: Any = a, b: Any = b) -> Any:
            rest = list(operands)
            return ufunc(*(rest.pop(0) if isinstance(value, np.ndarray) else value for value in (a, b)))

        result, expected = run(function, *arrays), ufunc(a, b)
        np.testing.assert_array_equal(result, expected, strict=True)
        first_or_second = [np.signbit(pairs[:4, k]).tolist() for k in (0, 1)]
        if np.signbit(ufunc(pairs[:4, 0], pairs[:4, 1])).tolist() in first_or_second:
            np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))


def test_a_long_sum_is_numpys_pairwise_sum(rng: np.random.Generator) -> None:
    a = rng.normal(size=(700, 130)).astype(np.float32)
    for function in (np.sum, lambda x: np.sum(x, axis=0), lambda x: np.sum(x, axis=1), lambda x: np.mean(x * x)):
        np.testing.assert_array_equal(run(lambda x, f=function: f(x) + 0.0, a), function(a), strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_sum_is_cut_where_numpy_cuts_it(
    dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old releases of NumPy add up what a buffer holds; later ones would, if that were asked for."""
    a = rng.normal(size=(2, 20_000)).astype(dtype)
    np.testing.assert_array_equal(run(lambda x: np.sum(x, axis=1) + 0.0, a), np.sum(a, axis=1), strict=True)
    monkeypatch.setattr(call_table, "sum_piece", lambda: 8192)
    pieces = [np.add.reduce([np.sum(row[at : at + 8192]) for at in range(0, row.size, 8192)]) for row in a]
    np.testing.assert_array_equal(run(lambda x: np.sum(x, axis=1) + 0.0, a), np.array(pieces), strict=True)


def descending(state: Any, rows: Any, lr: Any) -> Any:
    return {name: w - lr * rows[0] for name, w in state.items()}, {"halt": np.isfinite(lr)[0]}


@pytest.mark.parametrize("kind", ["own", "read-only", "twice", "part of another"])
def test_only_state_with_memory_of_its_own_is_written_over(kind: str, rng: np.random.Generator) -> None:
    w, x, lr = (rng.normal(size=n) for n in (3, 3, 1))
    w.flags.writeable = kind != "read-only"
    before, state = w.copy(), {"w": w, "v": w} if kind == "twice" else {"w": w[:] if kind == "part of another" else w}
    after, _ = compiled_step(descending, state, Signature.of(state, (x,), None, lr)).run(state, (x,), None, lr)
    assert (after["w"] is w) == (kind == "own")
    np.testing.assert_array_equal(w, before - lr * x if kind == "own" else before)
    for name in state:
        np.testing.assert_array_equal(after[name], before - lr * x)


def swap(state: Any, rows: Any, lr: Any) -> Any:
    """Exchange two arrays: neither can be written in place before the other is read."""
    return {"a": state["b"] * 1.0, "b": state["a"] * 2.0}, {"halt": ~np.isfinite(lr)[0]}


def test_state_that_cannot_be_written_in_place_is_copied() -> None:
    state, lr = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}, np.ones(2)
    after, _ = compiled_step(swap, state, Signature.of(state, (), None, lr)).run(state, (), None, lr)
    np.testing.assert_array_equal(after["a"], [2.0, 4.0])
    np.testing.assert_array_equal(after["b"], [6.0, 8.0])


def centring(state: Any, rows: Any, lr: Any) -> Any:
    """Take the first row from every row: nothing may be written over it before the last row has been computed."""
    return {"w": state["w"] - state["w"][:1, :]}, {"halt": ~np.isfinite(lr)[0]}


def test_state_that_is_read_out_of_step_is_not_written_in_place(rng: np.random.Generator) -> None:
    w, lr = rng.normal(size=(5, 3)), np.ones(1)
    expected, state = w - w[:1], {"w": w}
    after, _ = compiled_step(centring, state, Signature.of(state, (), None, lr)).run(state, (), None, lr)
    np.testing.assert_array_equal(after["w"], expected)


def halting(state: Any, rows: Any, lr: Any) -> Any:
    new = state["n"] + 1.0
    return {"n": new}, {"n": new[0], "halt": new[0] >= 3.0}


@pytest.mark.parametrize("patience", [AT_ONCE, float("inf")])
def test_the_run_ends_after_the_step_that_halts(patience: float) -> None:
    epochs = compiled_epochs(Backend.run_epoch.__get__(NumpyBackend()), patience)
    state, reports = epochs.run(halting, {"n": np.zeros(1)}, (), None, np.ones(10))
    np.testing.assert_array_equal(reports["n"], [1.0, 2.0, 3.0])
    assert state["n"] == 3.0


def branching(state: Any, rows: Any, lr: Any) -> Any:
    return {"n": state["n"] + (1.0 if state["n"][0] > 2 else 2.0)}, {"halt": np.asarray(False)}


def test_a_step_that_cannot_be_recorded_runs_as_it_is_written() -> None:
    with pytest.raises(Untraceable, match="branch"):
        compiled_step(branching, {"n": np.zeros(1)}, Signature.of({"n": np.zeros(1)}, (), None, np.ones(1)))
    epochs = compiled_epochs(Backend.run_epoch.__get__(NumpyBackend()), AT_ONCE)
    state, _ = epochs.run(branching, {"n": np.zeros(1)}, (), None, np.ones(4))
    assert state["n"] == 6.0


def test_arrays_that_live_together_never_share_memory(rng: np.random.Generator) -> None:
    executables: list[Executable] = []

    class Keep(NumpyBackend):
        def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
            executables.append(compiled_step(step, state, Signature.of(state, data, order, lr)))
            return Backend.run_epoch(self, step, state, data, order, lr)

    model = bp.Model(
        bp.Network(9, [bp.Dense(8, "gelu"), *BATCH_NORM, bp.Dense(3)], "softmax_cross_entropy"), Keep(), seed=0
    )
    model.fit(rng.normal(size=(16, 9)), rng.integers(0, 3, 16), steps=1)
    plan = executables[0].plan
    memory, groups = plan.memory, list(plan.groups)
    last = {n.base.number: k for k, group in enumerate(groups) for n in group.reads}
    sizes = {n.number: n.size * n.dtype.itemsize for group in groups for n in (*group.nodes, *group.reads)}
    live: dict[int, tuple[int, int]] = {}
    for k, group in enumerate(groups):
        made_here = [n for n in group.nodes if n.number in group.own and n.number in memory.places]
        for node in made_here:
            if node.number not in memory.shares:
                start = memory.places[node.number]
                stop = start + sizes[node.number]
                assert stop <= memory.size
                assert all(stop <= a or b <= start for a, b in live.values())
        live.update({n.number: (p := memory.places[n.number], p + sizes[n.number]) for n in made_here})
        live = {number: span for number, span in live.items() if last.get(number, k) > k}
    assert memory.shares
    trained = [node.number for path, node in plan.step.changed.items() if path[0] in ("params", "slots")]
    assert memory.in_place >= set(trained)


def test_a_compiler_that_fails_is_reported_once_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: str) -> int:
        raise ImportError("no such compiler")

    monkeypatch.setattr("bpengine_numpy.llvm_target.executable.compiled", broken)
    epochs = compiled_epochs(Backend.run_epoch.__get__(NumpyBackend()), AT_ONCE)
    with pytest.warns(UserWarning, match="goes on without.*no such compiler"):
        state, _ = epochs.run(halting, {"n": np.zeros(1)}, (), None, np.ones(2))
    assert state["n"] == 2.0


def test_rows_that_do_not_lie_in_one_piece_are_compiled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    bind = Executable.bind
    monkeypatch.setattr(Executable, "bind", lambda program, *args: runs.append(1) or bind(program, *args))
    monkeypatch.setattr(NumpyBackend, "patience", AT_ONCE)
    x, y = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)[:, ::2], np.arange(40) % 2
    model = bp.Model(bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], "softmax_cross_entropy"))
    model.fit(x, y, epochs=2)
    assert runs


def wide(dtype: str, backend: bp.Backend) -> bp.Model:
    layers = [bp.Dense(1000, "relu", weight_init="orthogonal"), bp.Dense(3)]
    return bp.Model(bp.Network(300, layers, "softmax_cross_entropy"), backend, dtype, seed=0)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("order", [None, "transposed"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_in_column_order_train_as_in_row_order(
    dtype: str, order: str | None, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above 1 MiB a fit works on the model's arrays themselves; with `only` it reads the weight and never writes it."""
    x, y, weight = rng.normal(size=(64, 300)), rng.integers(0, 3, 64), rng.normal(size=(1000, 300)) / 30
    losses = []
    for patience in (AT_ONCE, float("inf")):
        monkeypatch.setattr(NumpyBackend, "patience", patience)
        model = wide(dtype, NumpyBackend(dtype))
        if order:
            model.parameters = {"0.weight": weight.T}
        losses.append(model.fit(x, y, batch_size=32, epochs=3, only="1.*").loss)
        assert all(array.flags.c_contiguous for array in model._params.values())
    np.testing.assert_array_equal(*losses)


def doubling(state: Any, rows: Any, lr: Any) -> Any:
    return {"n": state["n"], "m": state["m"] + state["n"]}, {"halt": np.asarray(False)}


def test_state_in_column_order_is_read_as_it_lies() -> None:
    n = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    epochs = compiled_epochs(Backend.run_epoch.__get__(NumpyBackend()), AT_ONCE)
    state, _ = epochs.run(doubling, {"n": n, "m": np.zeros((2, 3))}, (), None, np.ones(2))
    np.testing.assert_array_equal(state["m"], 2.0 * n)
    plain = compiled_step(
        doubling, {"n": n.copy(), "m": n.copy()}, Signature.of({"n": n.copy(), "m": n.copy()}, (), None, n[0])
    )
    with pytest.raises(Untraceable, match=r"does not lie in C order: shape \(2, 3\), strides \(8, 16\)"):
        plain.bind({"n": n, "m": n.copy()}, (), None, np.ones(2))
    with pytest.raises(Untraceable, match=r"an array float64\(3, 2\) in place of float64\(2, 3\)"):
        plain.bind({"n": np.ones((3, 2)), "m": n.copy()}, (), None, np.ones(2))


@pytest.mark.parametrize("threads", [1, 3])
def test_pass_over_many_arrays_is_compiled_with_the_same_bits(
    threads: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpengine_numpy.llvm_target.blas_threads.LEAST", 1)
    monkeypatch.setattr("bpengine_numpy.llvm_target.blas_threads.team", lambda: Team(ADDRESS, threads))
    layers = [*(bp.Dense(4, "tanh") for _ in range(26)), bp.Dense(2)]
    model = bp.Model(bp.Network(3, layers, "mean_squared_error", [bp.L2(0.1)]), Both(), seed=0)
    before = Both.steps
    model.fit(rng.normal(size=(20, 3)), rng.normal(size=(20, 2)), epochs=2, batch_size=10, optimizer="adam")
    assert Both.steps == before + 4


@pytest.mark.parametrize("where", ["tracing.record", "plan.make_plan", "StepTable"])
def test_failure_before_a_run_falls_back_to_the_step_as_written(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise MemoryError("no room")

    room = "bpengine_numpy.llvm_target.executable" if where == "StepTable" else "bpengine_steps"
    monkeypatch.setattr(f"{room}.{where}", broken)
    monkeypatch.setattr(NumpyBackend, "patience", AT_ONCE)
    x = np.random.default_rng(0).normal(size=(40, 3))
    network = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], "mean_squared_error")
    with pytest.warns(UserWarning, match="LLVM cannot compile the training step.*no room") as warned:
        losses = bp.Model(network).fit(x, x[:, :2], epochs=2, batch_size=8).loss
    assert len(warned) == 1
    bp.clear_caches()
    monkeypatch.setattr(NumpyBackend, "patience", float("inf"))
    np.testing.assert_array_equal(losses, bp.Model(network).fit(x, x[:, :2], epochs=2, batch_size=8).loss)


def averaging(state: Any, rows: Any, lr: Any) -> Any:
    return {"n": state["n"] + state["n"].mean()}, {"halt": np.asarray(False)}


@pytest.mark.filterwarnings("error")
def test_a_step_that_calls_an_arrays_own_methods_runs_as_it_is_written() -> None:
    epochs = compiled_epochs(Backend.run_epoch.__get__(NumpyBackend()), AT_ONCE)
    state, _ = epochs.run(averaging, {"n": np.ones(2)}, (), None, np.ones(3))
    np.testing.assert_array_equal(state["n"], [8.0, 8.0])


def outer(state: Any, rows: Any, lr: Any) -> Any:
    return {"w": rows[0].T @ rows[1]}, {"halt": np.asarray(False)}


def test_a_product_of_one_term_each_is_that_of_blas_and_0_is_not_minus_0(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(1, 40)), rng.normal(size=(1, 30))
    x[0, ::3], y[0, ::2] = 0.0, -0.0
    state = {"w": np.zeros((40, 30))}
    program = compiled_step(outer, state, Signature.of(state, (x, y), None, np.ones(1)))
    assert {group.kind for group in program.plan.groups} == {"pass", "tail"}
    got, expected = program.run(state, (x, y), None, np.ones(1))[0]["w"], x.T @ y
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


@pytest.mark.parametrize("name", STEPS)
def test_step_may_keep_exchange_or_report_old_states(name: str, rng: np.random.Generator) -> None:
    state = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=(2, 3))}
    Both("float64").run_epoch(step_of(name), state, (), None, np.ones(3))


def widening(state: Any, rows: Any, lr: Any) -> Any:
    return {"n": np.astype(state["n"], np.dtype("float64"))}, {"halt": np.asarray(False)}


def growing(state: Any, rows: Any, lr: Any) -> Any:
    return {"n": np.concat([state["n"], state["n"]])}, {"halt": np.asarray(False)}


@pytest.mark.parametrize("step", [widening, growing])
def test_a_step_that_changes_the_form_of_its_state_runs_as_it_is_written(step: Any) -> None:
    epochs = compiled_epochs(Backend.run_epoch.__get__(NumpyBackend()), AT_ONCE)
    state, _ = epochs.run(step, {"n": np.ones(2, np.float32)}, (), None, np.ones(2))
    assert (state["n"].dtype, state["n"].size) == {widening: ("f8", 2), growing: ("f4", 8)}[step]


def bound(executable: Executable, state: dict[str, Any], order: np.ndarray) -> tuple[dict[str, Any], Any]:
    """Run two steps, and return the state after them and the table that is kept for the next run."""
    after, _ = executable.run(state, (np.arange(12.0).reshape(6, 2),), order, np.array([0.5, 0.25]))
    return after, executable._kept and executable._kept[-1].calls


def moving(state: Any, rows: Any, lr: Any) -> Any:
    moved = state["a"] + np.sum(rows[0], axis=0) * lr
    return {"a": moved, "b": state["b"] * 1.0}, {"loss": np.sum(moved), "halt": np.sum(moved) > 1e9}


@pytest.mark.parametrize("small", [True, False], ids=["small", "large"])
def test_call_table_is_reused_for_the_same_arrays_and_moved_to_others_where_it_is_small(
    small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executable_module, "SMALL", 2**18 if small else 0)
    state, orders = {"a": np.zeros(2), "b": np.ones(3)}, np.array([[[0, 1], [2, 3]], [[4, 5], [1, 0]]])
    data = (np.arange(12.0).reshape(6, 2),)
    executable = compiled_step(moving, state, Signature.of(state, data, orders[0], np.zeros(2)))
    state, first = bound(executable, state, orders[0])
    again, second = bound(executable, state, orders[1])
    assert first is not None
    assert first is second
    a = np.zeros(2)
    for order, rate in zip(orders.reshape(4, 2), [0.5, 0.25] * 2, strict=True):
        a = a + np.sum(data[0][order], axis=0) * rate
    np.testing.assert_array_equal(again["a"], a)
    others, third = bound(executable, {"a": np.ones(2), "b": np.full(3, 2.0)}, orders[0])
    assert (third is first) == small
    moved = np.ones(2) + np.sum(data[0][orders[0, 0]], axis=0) * 0.5 + np.sum(data[0][orders[0, 1]], axis=0) * 0.25
    np.testing.assert_array_equal(others["a"], moved)
    np.testing.assert_array_equal(again["a"], a)  # which the run on other arrays has left as they were
    del state, again, others
    assert bool(executable._kept) == small  # the arrays of the third run are gone as well


def test_threads_that_share_a_program_do_not_share_its_tables(rng: np.random.Generator) -> None:
    """Fits of equal networks at the same time, on arrays of their own: the numbers of one after another."""
    data, rates = (rng.normal(size=(6, 2)),), np.full(40, 1e-3)
    starts = [rng.normal(size=2) for _ in range(4)]
    states = [{"a": start, "b": np.ones(3)} for start in starts]
    executable = compiled_step(moving, states[0], Signature.of(states[0], data, None, rates))

    def trained(start: Any) -> Any:
        ends = []
        for _ in range(50):
            state, _ = executable.run({"a": start.copy(), "b": np.ones(3)}, data, None, rates)
            state, _ = executable.run(state, data, None, rates)
            ends.append(state["a"])
        return ends

    expected = [trained(start)[0] for start in starts]
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(trained, starts))
    for ends, one in zip(ended, expected, strict=True):
        for end in ends:
            np.testing.assert_array_equal(end, one, strict=True)
    assert 1 <= len(executable._kept) <= executable_module.KEPT


def test_a_kept_table_is_moved_to_other_rows_of_a_full_batch(rng: np.random.Generator) -> None:
    rates, state = np.full(3, 0.5), {"a": np.zeros(2), "b": np.ones(3)}
    first, second = ((rng.normal(size=(6, 2)),) for _ in range(2))
    executable = compiled_step(moving, state, Signature.of(state, first, None, rates))
    tables = []
    for data in (first, second):
        after, _ = executable.run({"a": np.zeros(2), "b": np.ones(3)}, data, None, rates)
        tables.append(executable._kept[-1].calls)
        a = np.zeros(2)
        for rate in rates:
            a = a + np.sum(data[0], axis=0) * rate
        np.testing.assert_array_equal(after["a"], a)
    assert tables[0] is tables[1]
