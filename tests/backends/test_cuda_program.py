"""The CUDA target on a played device: the generated text itself, run on the CPU, trains as NumPy does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest
from bpengine_cupy.cuda_target.codegen.program_text import CudaText, write_cuda
from bpengine_cupy.cuda_target.compiler import compile_cuda, resources
from bpengine_cupy.cuda_target.expressions import EXPRESSIONS, inline
from bpengine_cupy.cuda_target.program import RUN, WINDOWS, CudaProgram
from bpengine_cupy.cuda_target.target import CudaTarget
from bpengine_cupy.namespace import SwitchingNamespace
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import flushed
from bpengine_steps.adaptive import CompiledEpochs
from bpengine_steps.ir import Untraceable
from bpengine_steps.plan import make_plan
from bpengine_steps.signature import Signature, leaves
from bpengine_steps.tracing import record

import bpengine as bp
from bpengine.backend import Backend
from bpengine.errors import ConfigError
from tests.backends.cuda_host.player import ORDERS, Player, WouldNotRun
from tests.backends.fits import FITS, STEPS, rows_for, step_of
from tests.tolerances import agreement_rtol, compiled_state_rtol, fifty_steps_rtol

AT_ONCE = float("-inf")  # patience


def written(step: Any, state: Any, signature: Signature, precision: str = "float32") -> CudaText:
    return write_cuda(make_plan(record(step, state, signature), CudaTarget(precision), ordered=signature.ordered))


def text_of(step: Any, state: Any, data: Any, order: Any, lr: Any, precision: str = "float32") -> CudaText:
    return written(step, state, Signature.of(state, data, order, lr), precision)


class Played(NumpyBackend):
    """Runs every epoch on the played device in each order of threads, and on NumPy, and compares."""

    players: list[Player]
    texts: list[CudaText]

    def __init__(self, dtype: str) -> None:
        super().__init__(precision=dtype)
        self.players, self.texts = [], []

    def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
        plan = text_of(step, state, data, order, lr)
        self.texts.append(plan)
        with np.errstate(all="ignore"), flushed():
            results = [self._played(plan, threads, state, data, order, lr) for threads in ORDERS.values()]
            expected = Backend.run_epoch(self, step, state, data, order, lr)
        for other in results[1:]:
            assert_same(results[0], other)
        assert_close(results[0], expected, lr)
        return results[0]

    def _played(self, plan: CudaText, threads: int, state: Any, data: Any, order: Any, lr: Any) -> Any:
        self.players.append(Player(threads))
        return CudaProgram(plan, self.players[-1]).run(state, data, order, lr)


def assert_same(one: Any, other: Any) -> None:
    for tree, same in zip(one, other, strict=True):
        for (path, got), (_, expected) in zip(leaves(tree), leaves(same), strict=True):
            np.testing.assert_array_equal(got, expected, strict=True, err_msg=str(path))


def assert_close(result: Any, expected: Any, lr: Any) -> None:
    (state, reports), (wanted, expected_reports) = result, expected
    limit = compiled_state_rtol(lr.dtype, len(lr))
    for (path, got), (_, want) in zip(leaves(state), leaves(wanted), strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype), path
        scale = np.abs(want.astype("f8")).max(initial=0.0)
        assert np.abs(got.astype("f8") - want.astype("f8")).max(initial=0.0) <= limit * scale, path
    assert reports.keys() == expected_reports.keys()
    for name, want in expected_reports.items():
        np.testing.assert_allclose(reports[name], want, rtol=limit, err_msg=name)


def fit(name: str, backend: Any, rng: np.random.Generator, **more: Any) -> Any:
    layers, loss, settings = FITS[name]
    penalties = [bp.L2(0.01), bp.L1(0.01), bp.L2(0.1, per_sample=True)] if "clip_norm" in settings else []
    model = bp.Model(bp.Network(4, layers, loss, penalties), backend, dtype=backend.dtype, seed=1)
    outputs = model.forward(np.zeros((1, 4))).shape[1]
    weights = rng.uniform(0.5, 2, 29) if "optimizer" in settings else None
    options = {"batch_size": 8, "epochs": 2, "weights": weights, **settings, **more}
    return model.fit(rng.normal(size=(29, 4)), rows_for(loss, 29, outputs, rng), **options)


@pytest.mark.thorough(keep=6)
@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FITS)
def test_training_agrees_with_numpy_in_every_thread_order(name: str, dtype: str, rng: np.random.Generator) -> None:
    backend = Played(dtype)
    fit(name, backend, rng)
    assert {len(player._held) for player in backend.players} == {0}
    assert all(player.graphs for player in backend.players)


class Kept(NumpyBackend):
    """Keeps the state after each run; the runs are the played device's, or NumPy's step by step."""

    def __init__(self, dtype: str, played: bool) -> None:
        super().__init__(precision=dtype)
        self.last, self.steps = dict[Any, Any](), 0
        self._text: Callable[..., CudaText] | None = text_of if played else None

    def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
        with np.errstate(all="ignore"), flushed():
            if self._text:
                ended = CudaProgram(self._text(step, state, data, order, lr), Player()).run(state, data, order, lr)
            else:
                ended = Backend.run_epoch(self, step, state, data, order, lr)
        self.last, self.steps = dict(leaves(ended[0])), self.steps + len(lr)
        return ended


@pytest.mark.thorough(keep=2)
@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FITS)
def test_fifty_steps_are_within_the_stated_difference_of_numpy(name: str, dtype: str) -> None:
    ours, numpys = Kept(dtype, True), Kept(dtype, False)
    for backend in (ours, numpys):
        fit(name, backend, np.random.default_rng(5), epochs=None, steps=50)
    assert ours.steps == numpys.steps == 50
    numbers = [path for path, value in numpys.last.items() if value.dtype.kind == "f"]
    largest = max(np.abs(numpys.last[path]).max(initial=0.0) for path in numbers)
    away = max(np.abs(ours.last[p].astype("f8") - numpys.last[p].astype("f8")).max(initial=0.0) for p in numbers)
    assert 0 < away <= fifty_steps_rtol(dtype) * largest


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("batch_size", [None, 1])
def test_program_trains_on_the_full_batch_and_on_single_rows(batch_size: int | None, rng: np.random.Generator) -> None:
    fit("softmax_cross_entropy", Played("float64"), rng, batch_size=batch_size)


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("rows", [4160, 8192, 20_001])
def test_blocks_of_rows_become_sums_in_two_stages(
    rows: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that NumPy adds in blocks of blocks, the last of them shorter; sums as long as these round otherwise."""
    monkeypatch.setattr(f"{__name__}.compiled_state_rtol", lambda dtype, steps: agreement_rtol(dtype, rows))
    layers = [bp.BatchNorm(), bp.Dense(3, "tanh"), bp.Dense(1)]
    backend = Played("float64")
    model = bp.Model(bp.Network(2, layers, "mean_squared_error"), backend, dtype="float64", seed=1)
    model.fit(rng.uniform(1, 2, (rows, 2)), rng.uniform(1, 2, (rows, 1)), optimizer="sgd", steps=1)
    assert backend.texts


def counting(halt_after: int) -> Callable[..., Any]:
    """Return a step that counts steps and sums its rows."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        (x,) = rows
        count = state["count"] + np.astype(lr * 0 + 1, np.int32)
        total = state["sum"] + lr * np.sum(x)
        return {"count": count, "sum": total}, {"loss": np.sum(x), "halt": count[0] >= halt_after}

    return step


def counted(halt_after: int, steps: int, player: Player) -> Any:
    state = {"count": np.zeros(1, np.int32), "sum": np.zeros(1, np.float64)}
    data = (np.arange(24.0).reshape(12, 2),)
    order, lr = np.arange(steps * 3).reshape(steps, 3) % 12, (1 + np.arange(steps)) / 64
    step = counting(halt_after)
    program = CudaProgram(text_of(step, state, data, order, lr), player)
    return program.run(state, data, order, lr), Backend.run_epoch(NumpyBackend(), step, state, data, order, lr)


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("halt_after", [1, 2, 8, 9, 63, 64, 65, 150, 10_000])
def test_a_run_ends_right_after_the_step_that_halts(halt_after: int) -> None:
    got, expected = counted(halt_after, 150, Player())
    assert_same(got, expected)
    assert len(got[1]["loss"]) == min(halt_after, 150)


@pytest.mark.usefixtures("played")
def test_one_graph_is_launched_for_a_window() -> None:
    player = Player()
    counted(10_000, 2 * 64 + 8 + 3, player)
    assert (player.graphs, player.replays) == (3, 2 + 1 + 3)
    assert WINDOWS == (64, 8, 1)


@pytest.mark.usefixtures("played")
def test_halt_is_read_two_windows_later() -> None:
    player = Player()
    counted(1, 64 * 10, player)
    assert player.replays == 2


@pytest.mark.usefixtures("played")
def test_an_old_state_that_is_read_after_the_new_one_is_made_is_not_written_over(rng: np.random.Generator) -> None:
    def step(state: Any, rows: Any, lr: Any) -> Any:
        (x,) = rows
        new = state["w"] + lr * 0.5
        through = np.sum(x @ new) * 0.01  # needs the new one, and the old one is read behind it
        other = state["v"] * 0.9 + (state["w"] * through) @ state["w"].T
        return {"w": new, "v": other}, {"loss": through, "halt": through != through}

    state = {"w": rng.normal(size=(6, 6)), "v": np.zeros((6, 6))}
    data, order, lr = (rng.normal(size=(9, 6)),), np.arange(9).reshape(3, 3), np.full(3, 0.25)
    program = CudaProgram(text_of(step, state, data, order, lr), Player())
    assert_close(
        program.run(state, data, order, lr), Backend.run_epoch(NumpyBackend(), step, state, data, order, lr), lr
    )


@pytest.mark.usefixtures("played")
def test_calls_run_one_by_one_without_graphs_and_warn_once() -> None:
    class NoGraphs(Player):
        def capture(self, work: Any) -> Any:
            raise RuntimeError("capture is not supported")

    player = NoGraphs()
    with pytest.warns(UserWarning, match="runs call by call: RuntimeError") as said:
        got, expected = counted(10_000, 80, player)
    assert len(said) == 1
    assert not player.replays
    assert_same(got, expected)


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("forbidden", ["wait", "begin", "upload", "empty", "look", "download"])
def test_simulated_device_refuses_what_a_capture_forbids(forbidden: str) -> None:
    player = Player()
    args = {"upload": [np.zeros(1)], "empty": [8], "look": [0], "download": [np.zeros(1)]}
    with pytest.raises(WouldNotRun, match="while a stream is captured"):
        player.capture(lambda: getattr(player, forbidden)(*args.get(forbidden, [])))


@pytest.mark.usefixtures("played")
def test_a_state_that_does_not_lie_in_c_order_is_read_rightly(rng: np.random.Generator) -> None:
    def step(state: Any, rows: Any, lr: Any) -> Any:
        (x,) = rows
        new = state["w"] * 0.5 + np.sum(x) * lr
        return {"w": new, "kept": state["kept"]}, {"loss": np.sum(state["kept"] * new), "halt": np.sum(x) != np.sum(x)}

    state = {"w": np.asfortranarray(rng.normal(size=(5, 7))), "kept": np.asfortranarray(rng.normal(size=(5, 7)))}
    data, order, lr = (rng.normal(size=(9, 2)),), np.arange(9).reshape(3, 3), np.full(3, 0.25)
    program = CudaProgram(text_of(step, state, data, order, lr), Player())
    assert_close(
        program.run(state, data, order, lr), Backend.run_epoch(NumpyBackend(), step, state, data, order, lr), lr
    )


def test_a_step_that_cuda_cannot_compile_is_an_error_where_nothing_else_can_run_it() -> None:
    def step(state: Any, rows: Any, lr: Any) -> Any:
        return state, {"halt": bool(state["w"][0] > 0)}

    def make(step: Any, state: Any, signature: Any) -> Any:
        return written(step, state, signature)

    epochs = CompiledEpochs(lambda *args: pytest.fail("it ran eagerly"), AT_ONCE, make, "CUDA", required=True)
    state, data = {"w": np.zeros(1, np.float32)}, (np.zeros((2, 1), np.float32),)
    with pytest.raises(ConfigError, match=r"a branch on a value.*precision='float32'"):
        epochs.run(step, state, data, None, np.zeros(1, np.float32))


NETWORKS: dict[str, tuple[int, list[bp.Layer], int]] = {
    "mlp": (784, [bp.Dense(512, "relu"), bp.Dense(256, "relu"), bp.Dense(10)], 128),
    "mixed": (
        16,
        [
            bp.Dense(24, "gelu"), bp.BatchNorm(), bp.Dropout(0.25),
            bp.Residual([bp.Dense(24, "relu"), bp.LayerNorm(), bp.Dense(24)]), bp.Dense(10),
        ],
        33,
    ),
}  # fmt: skip


def training_text(name: str, dtype: str, xp: Any = np, precision: str = "float32") -> CudaText:
    """Return the text of one of the networks, with Adam, as `fit` would make it."""
    from bpengine.ops import Ops
    from bpengine.training.optimizers import make_optimizer
    from bpengine.training.step import StepPlan, init_state, make_step

    inputs, layers, batch = NETWORKS[name]
    network = bp.Network(inputs, layers, "softmax_cross_entropy")
    model = bp.Model(network, NumpyBackend(precision=dtype), dtype=dtype, seed=3)
    plan = StepPlan(
        optimizer=make_optimizer("adam"), trained=tuple(model._params), update="simultaneous", track_step_size=False
    )
    state = init_state(Ops(np), plan, model._params, model._running, np.array([3, 0], np.uint32))
    data = (np.zeros((2 * batch, inputs), dtype), np.zeros(2 * batch, np.int32))
    order, lr = np.zeros((4, batch), np.int32), np.zeros(4, dtype)
    return text_of(make_step(network, plan, Ops(xp)), state, data, order, lr, precision)


def test_layer_takes_five_launches() -> None:
    assert len(training_text("mlp", "float32").calls) == 5 * 3


def test_weight_gradients_may_run_beside_the_rest() -> None:
    calls = training_text("mlp", "float32").calls
    assert [call.name for call in calls if call.beside] == [c.name for c in calls if c.product and c.product.k == 128]


@pytest.mark.thorough(keep=3)
@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("arch", [80, 90, 100])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_kernels_fit_a_threads_registers(name: str, dtype: str, arch: int) -> None:
    plan = training_text(name, dtype)
    binary, log = compile_cuda(plan.source, arch)
    kernels = resources(log)
    assert binary[:4] == b"\x7fELF"
    assert kernels.keys() == {call.name for call in plan.calls if call.product is None}
    assert not [name for name, needs in kernels.items() if needs.spilled]
    assert max(needs.registers for needs in kernels.values()) <= {"float32": 96, "float64": 140}[dtype]


@pytest.mark.usefixtures("nvrtc")
def test_no_product_and_sum_are_contracted() -> None:
    ptx, _ = compile_cuda(training_text("mlp", "float32").source, 90, ptx=True)
    tail = ptx.decode().split(".entry")[-1]  # Adam: algebra alone
    assert "mul" in tail
    assert "fma" not in tail


@pytest.mark.parametrize("name", NETWORKS)
def test_step_bound_to_another_namespace_is_recorded_equally(name: str) -> None:
    import array_api_strict

    xp = SwitchingNamespace(array_api_strict)
    with xp.recording():
        ours = training_text(name, "float32", xp)
    assert ours.source == training_text(name, "float32").source


def test_rows_that_no_block_holds_are_refused() -> None:
    def step(state: Any, rows: Any, lr: Any) -> Any:
        (x,) = rows
        y = x / np.sum(x, axis=1, keepdims=True)
        return {"w": state["w"] + np.sum(y, axis=0)}, {"halt": np.sum(y) != np.sum(y)}

    state, data = {"w": np.zeros(9000)}, (np.zeros((4, 9000)),)
    with pytest.raises(Untraceable, match="rows of 9000 numbers"):
        text_of(step, state, data, np.zeros((1, 2), np.int32), np.zeros(1))


VALUES = np.array([-np.inf, -700.25, -1.5, -1.0, -0.0, 0.0, 1e-30, 0.3, 1.0, 2.5, 90.0, np.inf, np.nan])


UFUNCS = sorted({*EXPRESSIONS, "invert"} - {"cast", "where"})


class EveryOperation:
    """All operations of a dtype in one step, which is compiled once; `wanted` are NumPy's results."""

    def __init__(self, dtype: str) -> None:
        values = np.array([0, 1, 2, 7, 31, 2**31, 2**32 - 1]) if dtype == "uint32" else VALUES
        kind = np.dtype(dtype).kind
        ours = [u for u in UFUNCS if inline(u, kind, kind) and of_kind(u, dtype)]
        with np.errstate(all="ignore"), flushed():
            left, right = (a.ravel().astype(dtype) for a in np.meshgrid(values, values[::-1]))
            operands = {"left": left, "right": right, "shift": right % 32 if dtype == "uint32" else right}
            self.wanted = {ufunc: self._applied(operands, ufunc) for ufunc in ours}
        self.state = operands | {ufunc: np.zeros_like(value) for ufunc, value in self.wanted.items()}

    @property
    def text(self) -> CudaText:
        return text_of(self._step, self.state, (), None, np.ones(1))

    def _step(self, state: Any, rows: Any, lr: Any) -> Any:
        return {**state, **{u: self._applied(state, u) for u in self.wanted}}, {"halt": lr[0] != lr[0]}

    @staticmethod
    def _applied(state: Any, ufunc: str) -> Any:
        operands = [state["left"], state["shift" if "shift" in ufunc else "right"]]
        return getattr(np, ufunc)(*operands[: getattr(np, ufunc).nin])


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint32", "bool"])
def test_every_operation_gives_numpys_values(dtype: str) -> None:
    every = EveryOperation(dtype)
    with np.errstate(all="ignore"), flushed():
        got, _ = CudaProgram(every.text, Player()).run(every.state, (), None, np.ones(1))
    for ufunc, want in every.wanted.items():
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got[ufunc], want, rtol=compiled_state_rtol(dtype, 1), err_msg=ufunc)
        else:
            np.testing.assert_array_equal(got[ufunc], want, err_msg=ufunc)


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nvrtc_knows_every_operation(dtype: str) -> None:
    assert compile_cuda(EveryOperation(dtype).text.source, ptx=True)[0]


def of_kind(ufunc: str, dtype: str) -> bool:
    """Tell whether an operation is tested on this dtype: each on what it is for."""
    for_bits = ufunc.startswith("bitwise") or ufunc in ("left_shift", "right_shift", "invert")
    kind = "uint32" if for_bits else "bool" if ufunc.startswith("logical") else "float"
    return dtype.startswith(kind)


def test_every_operation_is_tested_and_those_of_the_array_api_are_there() -> None:
    assert {u for u in UFUNCS for dtype in ("float64", "uint32", "bool") if of_kind(u, dtype)} == set(UFUNCS)
    names = "acos acosh asin asinh atan atan2 atanh copysign cosh hypot isinf log10 log2 logaddexp sinh tan trunc signbit pow"
    functions = {getattr(array_api_compat.numpy, name).__name__ for name in names.split()}
    assert {name for name in functions if not inline(name, "f", "f")} == set()


@pytest.mark.usefixtures("nvrtc")
def test_many_column_sums_of_one_pass_share_a_blocks_memory() -> None:
    """Three sums of 256 columns in float64, a buffer each, would be more than a block may have."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        (x,) = rows
        y = x / np.sum(x, axis=1, keepdims=True)
        sums = {name: np.sum(y * (k + 1.5) + x, axis=0) for k, name in enumerate("abcd")}
        return {name: state[name] - lr * total for name, total in sums.items()}, {"halt": np.sum(y) != np.sum(y)}

    state, data = {name: np.zeros(256) for name in "abcd"}, (np.ones((64, 256)),)
    plan = text_of(step, state, data, np.zeros((1, 32), np.int32), np.zeros(1))
    needs = resources(compile_cuda(plan.source)[1])
    assert max(need.shared for need in needs.values()) <= 48 * 1024


@pytest.mark.usefixtures("played")
def test_rows_on_an_odd_boundary_are_taken_rightly() -> None:
    """Rows are copied 16 bytes at a time; a user's array may start at any address."""
    seen: list[int] = []

    class Watched(Player):
        def upload(self, array: Any) -> Any:
            if array.nbytes == RUN.itemsize and array.view(RUN)["steps"][0]:
                seen.append(int(array.view(RUN)["data"].flat[0]))
            return super().upload(array)

    def step(state: Any, rows: Any, lr: Any) -> Any:
        (x,) = rows
        return {"w": state["w"] + np.sum(x, axis=0)}, {"halt": np.sum(x) != np.sum(x)}

    odd = np.arange(33, dtype=np.float32)[1:].reshape(8, 4)
    assert odd.ctypes.data % 16
    state, order, lr = {"w": np.zeros(4, np.float32)}, np.array([[5, 2]]), np.zeros(1, np.float32)
    program = CudaProgram(text_of(step, state, (odd,), order, lr), Watched())
    got, _ = program.run(state, (odd,), order, lr)
    np.testing.assert_array_equal(got["w"], odd[5] + odd[2])
    assert [address % 16 for address in seen] == [0]


@pytest.mark.usefixtures("played")
def test_run_refused_by_a_program_falls_back_to_the_step_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bpengine_cupy.cuda_target.program.MOST_ROWS", 11)
    backend = NumpyBackend()
    step, ran = counting(10_000), list[int]()

    def eager(*args: Any) -> Any:
        ran.append(len(args[-1]))
        return Backend.run_epoch(backend, *args)

    def make(step: Any, state: Any, signature: Any) -> Any:
        return CudaProgram(written(step, state, signature), Player())

    state = {"count": np.zeros(1, np.int32), "sum": np.zeros(1, np.float64)}
    data, order, lr = (np.arange(24.0).reshape(12, 2),), np.arange(12).reshape(4, 3), np.ones(4)
    got = CompiledEpochs(eager, AT_ONCE, make, "CUDA").run(step, state, data, order, lr)
    assert ran == [4]
    assert_same(got, Backend.run_epoch(backend, step, state, data, order, lr))


def test_a_reciprocal_of_whole_numbers_is_left_to_numpy() -> None:
    assert inline("reciprocal", "f", "f")
    assert not inline("reciprocal", "i", "i")


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("name", STEPS)
def test_step_may_keep_exchange_or_report_old_states(name: str, rng: np.random.Generator) -> None:
    state, lr = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=(2, 3))}, np.ones(3)
    expected = Backend.run_epoch(NumpyBackend("float64"), step_of(name), state, (), None, lr)
    text = text_of(step_of(name), state, (), None, lr)
    for order in ORDERS.values():
        assert_close(CudaProgram(text, Player(order)).run(state, (), None, lr), expected, lr)
