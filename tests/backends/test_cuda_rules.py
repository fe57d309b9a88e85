"""What only a GPU enforces, on a played one: whose turn the streams are, which GPU is current, limits of grids and blocks."""

from __future__ import annotations

import ctypes
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from bpengine_cupy.cuda_target.codegen import program_text
from bpengine_cupy.cuda_target.codegen.program_text import CudaText, write_cuda
from bpengine_cupy.cuda_target.compiler import compile_cuda, resources
from bpengine_cupy.cuda_target.cublaslt import library
from bpengine_cupy.cuda_target.cublaslt.library import CublasLtError
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.target import CudaTarget
from bpengine_numpy import NumpyBackend
from bpengine_steps.functions import compiled_function
from bpengine_steps.plan import make_plan
from bpengine_steps.signature import Signature
from bpengine_steps.tracing import record

import bpengine as bp
from bpengine.backend import Backend
from tests.backends.cuda_host import played_cupy
from tests.backends.cuda_host.played_steps import NETWORKS, training
from tests.backends.cuda_host.player import Player, WouldNotRun
from tests.backends.cuda_host.streams import Streams

NETWORK = bp.Network(5, [bp.Dense(4, "tanh"), bp.Dense(3)], "softmax_cross_entropy")


@pytest.fixture
def rows(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 3, 60)


def text_of(step: Any, state: Any, data: Any, order: Any, lr: Any) -> CudaText:
    recorded = record(step, state, Signature.of(state, data, order, lr))
    return write_cuda(make_plan(recorded, CudaTarget(), ordered=order is not None))


def adding(state: Any, rows: Any, lr: Any) -> Any:
    """Add up what a step sees; it never halts."""
    total = np.sum(rows[0])
    return {"sum": state["sum"] + lr * total}, {"loss": total, "halt": total != total}


DATA = (np.arange(24.0).reshape(12, 2),)
ORDER, RATES = np.arange(450).reshape(150, 3) % 12, np.full(150, 0.25)


@pytest.mark.usefixtures("played")
def test_what_is_loaded_at_a_first_call_is_not_loaded_in_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that changes nothing is run call by call when a program is made; the played device refuses it otherwise."""
    program = CudaProgram(text_of(adding, {"sum": np.zeros(1)}, DATA, ORDER, RATES), Player())
    program.run({"sum": np.zeros(1)}, DATA, ORDER, RATES)
    monkeypatch.setattr(CudaProgram, "_try_once", lambda self: None)
    program = CudaProgram(program.text, Player())
    with pytest.warns(UserWarning, match="is loaded while a stream is captured"):
        program.run({"sum": np.zeros(1)}, DATA, ORDER, RATES)


@pytest.mark.usefixtures("played")
def test_ctrl_c_waits_for_what_is_in_the_stream() -> None:
    """What is there still reads and writes arrays of the run, which are given back with it."""

    class Interrupted(Streams):
        waiting = 0

        def replay(self, graph: Any) -> None:
            if self.replays == 1:
                raise KeyboardInterrupt
            super().replay(graph)

        def wait(self) -> None:
            super().wait()
            self.waiting = len(self._steps)

    device = Interrupted(schedule="copies early")
    program = CudaProgram(text_of(adding, {"sum": np.zeros(1)}, DATA, ORDER, RATES), device)
    with pytest.raises(KeyboardInterrupt):
        program.run({"sum": np.zeros(1)}, DATA, ORDER, RATES)
    assert device.replays == 1
    assert not device._steps


@pytest.mark.usefixtures("played")
def test_parallel_product_is_synchronised_before_a_call_of_a_host_function(rng: np.random.Generator) -> None:
    """The second stream joins the first also where such a product is the last call of a graph."""
    backend = NumpyBackend("float64")

    def into(x: Any, result: Any) -> None:
        result[...] = 2 * x[0]

    call = backend.outside(into)

    def step(state: Any, rows: Any, lr: Any) -> Any:
        (x,) = rows
        shared = np.reshape(np.sum(x, axis=0), (1, 2)) + 0.0 * state["n"]
        product = x.T @ x
        total = call(shared)
        new = {"w": state["w"] - lr * product, "v": state["v"] + total, "n": state["n"] + 1.0}
        return new, {"loss": np.sum(total), "halt": state["n"][0] > 1e9}

    state = {"w": rng.normal(size=(2, 2)), "v": np.zeros(2), "n": np.zeros(1)}
    order, lr = ORDER[:5], np.full(5, 0.25)
    text = text_of(step, state, DATA, order, lr)
    first_part = text.calls[: [c.outside is not None for c in text.calls].index(True)]
    assert first_part[-1].beside
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got, _ = CudaProgram(text, Player()).run(state, DATA, order, lr)
    want, _ = Backend.run_epoch(backend, step, state, DATA, order, lr)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-13, err_msg=name)


class Once(Player):
    """A device that notices calls of one thread between those that another puts into the streams."""

    def __init__(self) -> None:
        super().__init__()
        self.holder: int | None = None
        self.strangers = 0
        self.threads = set[int]()

    def call(self, *arguments: Any) -> None:
        self._seen()
        super().call(*arguments)

    def replay(self, graph: Any) -> None:
        self._seen()
        super().replay(graph)

    def copy(self, *arguments: Any) -> None:
        self._seen()
        super().copy(*arguments)

    def _seen(self) -> None:
        me = threading.get_ident()
        self.threads.add(me)
        with ThreadPoolExecutor(1) as other:
            self.strangers += other.submit(self._is_free).result()

    def _is_free(self) -> bool:
        """Say whether a thread that holds nothing could have its turn."""
        free = self.turn.acquire(blocking=False)
        if free:
            self.turn.release()
        return free


@pytest.mark.usefixtures("played")
def test_a_thread_has_the_streams_for_itself_while_it_uses_them(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fits of equal networks in two threads share a program; what one captures must not hold the other's calls."""
    device = Once()
    played_cupy.play(monkeypatch, lambda: device)
    monkeypatch.setattr(compiled_function, "SMALL", 0)
    wanted = bp.Model(NETWORK, "cupy", seed=1).fit(*rows, batch_size=20, epochs=3).loss

    def work(seed: int) -> Any:
        model = bp.Model(NETWORK, "cupy", seed=seed)
        losses = model.fit(*rows, batch_size=20, epochs=3).loss
        model.predict(rows[0])
        return losses

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(work, (1, 1))
    np.testing.assert_array_equal(one, wanted)
    np.testing.assert_array_equal(other, wanted)
    assert len(device.threads) == 3
    assert not device.strangers


@pytest.mark.usefixtures("played")
def test_each_thread_works_on_the_backends_own_gpu(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy's current GPU is a thread's own, the first one to begin with; another backend may have chosen another since."""
    seen = set[int]()

    class Placed(Player):
        def empty(self, size: int) -> Any:
            seen.add(played_cupy.current())
            return super().empty(size)

        def call(self, *arguments: Any) -> None:
            seen.add(played_cupy.current())
            super().call(*arguments)

    played_cupy.play(monkeypatch, Placed, devices=2)
    monkeypatch.setattr(compiled_function, "SMALL", 0)
    second = bp.get_backend("cupy", device="cuda:1")
    assert bp.get_backend("cupy", device="cuda:0").device == "cuda:0"
    assert played_cupy.current() == 0

    def work() -> None:
        model = bp.Model(NETWORK, second, seed=1)
        model.fit(*rows, batch_size=20, epochs=1)
        model.predict(rows[0])
        model.loss_and_gradients(*rows)

    work()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
    assert seen == {1}
    assert played_cupy.current() == 0


@pytest.mark.usefixtures("played")
def test_a_failing_product_and_a_gpu_that_is_lost_while_it_predicts_are_one_error(
    rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost(Player):
        error: Exception = played_cupy.PlayedError("cudaErrorECCUncorrectable: an uncorrectable error")

        def replay(self, graph: Any) -> None:
            raise self.error

    def leave(self: Any, *error: Any) -> None:
        """Leave a GPU's context: CUDA says again what it said of a GPU that is lost."""
        left(self, *error)
        if error[0] is not None:
            raise played_cupy.PlayedError(str(error[1]))

    played_cupy.play(monkeypatch, Lost)
    left = played_cupy.PlayedDevice.__exit__
    monkeypatch.setattr(played_cupy.PlayedDevice, "__exit__", leave)
    monkeypatch.setattr(compiled_function, "SMALL", 0)
    model = bp.Model(NETWORK, "cupy", seed=1)
    before = dict(model.parameters)
    with pytest.raises(
        bp.BackendUnavailable, match=r"lost 'cuda:0' while it computed: cudaErrorECCUncorrectable.*again"
    ):
        model.predict(rows[0])
    monkeypatch.setattr(compiled_function, "SMALL", 1 << 62)
    monkeypatch.setattr(Lost, "error", CublasLtError("cublasLtMatmul answered with status 13"))
    with pytest.raises(bp.BackendUnavailable, match=r"lost 'cuda:0' while it trained: cublasLtMatmul.*status 13"):
        model.fit(*rows, batch_size=20, epochs=1)
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("call", ["kernels", "capture"])
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_a_gpu_that_is_lost_while_a_program_is_made_is_one_error(
    call: str, precision: str, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of a step that cannot be compiled, of a graph, or of another precision: nothing more can run."""
    lost = played_cupy.PlayedError("cudaErrorECCUncorrectable: an uncorrectable error")

    class Lost(Player):
        gone = False

        def fail(self, *arguments: Any) -> Any:
            self.gone = True
            raise lost

        def wait(self) -> None:
            super().wait()
            if self.gone:
                raise lost

    played_cupy.play(monkeypatch, type("Lost", (Lost,), {call: Lost.fail}))
    model = bp.Model(NETWORK, bp.get_backend("cupy", precision=precision), seed=1)
    before = dict(model.parameters)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(bp.BackendUnavailable, match=r"lost 'cuda:0' while it trained: cudaErrorECC.*Start again"):
            model.fit(*rows, batch_size=20, epochs=1)
        monkeypatch.setattr(compiled_function, "SMALL", 0)
        with pytest.raises(bp.BackendUnavailable, match=r"lost 'cuda:0' while it computed: cudaErrorECC.*Start again"):
            model.predict(rows[0])
    assert not said
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])


class OutOfMemory(played_cupy.PlayedError):
    """CUDA's, with the number by which it is known."""

    status = 2


@pytest.mark.usefixtures("played")
def test_a_lack_of_memory_is_said_wherever_it_shows(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In CUDA's own words, in CuPy's where a step runs as it is written, and where an array is brought."""

    class Full(Player):
        def replay(self, graph: Any) -> None:
            raise OutOfMemory("cudaErrorMemoryAllocation: out of memory")

    class Gone(Player):
        def kernels(self, source: str) -> Any:
            raise OSError("libnvrtc.so.13: cannot open shared object file")

    def full(*args: Any, **more: Any) -> Any:
        raise MemoryError("Out of memory allocating 4,096 bytes (allocated so far: 0 bytes).")

    played_cupy.play(monkeypatch, Full)
    with pytest.raises(bp.DeviceMemoryError, match="too little GPU memory: cudaErrorMemoryAllocation: out of"):
        bp.Model(NETWORK, "cupy", seed=1).fit(*rows, batch_size=20, epochs=1)
    played_cupy.play(monkeypatch, Gone, lambda: 3 << 20)
    model = bp.Model(NETWORK, "cupy", seed=1)
    monkeypatch.setattr(model.backend.xp._eager, "tanh", full)
    with (
        pytest.warns(UserWarning, match="CUDA cannot compile the training step"),
        pytest.raises(bp.DeviceMemoryError, match=r"for a step: Out of .* 3 MiB are free. Give a smaller batch_"),
    ):
        model.fit(*rows, batch_size=20, epochs=1)
    monkeypatch.setattr(model.backend._cupy, "array", full)
    with pytest.raises(bp.DeviceMemoryError, match=r"for an array: it takes 0\.0 MiB, and 3\.0 MiB are free"):
        bp.Model(NETWORK, "cupy", seed=1)


@pytest.mark.usefixtures("played")
def test_memory_for_what_changes_is_taken_before_the_run(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for the program, and none for the new state: one error, before a step is run."""
    device = Streams()
    played_cupy.play(monkeypatch, lambda: device)
    model = bp.Model(NETWORK, "cupy", seed=1)
    model.fit(*rows, batch_size=20, epochs=1)
    before, replays = dict(model.parameters), device.replays
    device.memory = device.used + 1000
    with pytest.raises(
        bp.BackendUnavailable,
        match=r"beside a compiled step: a run of 3 steps takes 0\.0 MiB more, and 0\.0 MiB are free\. batch_size=\d+ would",
    ):
        model.fit(*rows, batch_size=20, epochs=1)
    assert device.replays == replays
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_no_memory_to_begin_with_is_one_error(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(precision: str) -> Any:
        raise MemoryError("Out of memory allocating 33,554,432 bytes")

    played_cupy.play(monkeypatch, free=lambda: 7 << 20)
    monkeypatch.setattr("bpengine_cupy.cuda_target.driver.CupyDriver", full)
    model = bp.Model(NETWORK, "cupy", seed=1)
    with pytest.raises(
        bp.DeviceMemoryError, match=r"matrix products take 64 MiB, and 7 MiB are free\. Another process"
    ):
        model.fit(*rows, batch_size=20, epochs=1)
    monkeypatch.setattr(compiled_function, "SMALL", 100)
    with pytest.warns(UserWarning, match="60 rows at once take 64.0 MiB .* go on with 3?[0-9] rows? at once"):
        answer = model.predict(rows[0])  # of few rows at once, which are not compiled
    np.testing.assert_allclose(answer, bp.Model(NETWORK, "numpy", seed=1).predict(rows[0]), rtol=1e-5)


@pytest.mark.parametrize("cuda", [12, 13])
def test_cublaslt_is_that_of_cupys_cuda(cuda: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: name)
    assert library.load_library(cuda) == f"libcublasLt.so.{cuda}"


@pytest.mark.usefixtures("nvrtc")
def test_sums_with_different_continuations_share_the_memory_of_a_block() -> None:
    """Each way is a code of its own in the last launch; with a room for each, a block would need more than 48 KiB."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        sums = [np.sum(rows[0] + k, axis=0) for k in range(len(state))]
        new = {name: w - lr * (sums[k] * (k + 1.5)) for k, (name, w) in enumerate(state.items())}
        return new, {"halt": lr[0] != lr[0]}

    state = {f"w{k}": np.ones(40) for k in range(25)}
    text = text_of(step, state, (np.ones((64, 40)),), np.zeros((1, 32), np.int32), np.zeros(1))
    assert text.source.count("finish_add") == 25
    needs = resources(compile_cuda(text.source)[1])
    assert max(need.shared for need in needs.values()) <= 2048 + 64


@pytest.mark.usefixtures("nvrtc")
def test_tables_of_places_fit_the_constant_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module has 64 KiB of it, which the places of some 500 layers would pass; what does not fit lies in the device's."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        new = {name: w * 0.5 + (lr * w if name < "c" else np.sqrt(w)) for name, w in state.items()}
        return new, {"halt": lr[0] != lr[0]}

    state = {f"{kind}{k}": np.ones(40, np.float32) for kind in "abcd" for k in range(6)}
    arguments = state, (np.ones((64, 4), np.float32),), np.zeros((1, 32), np.int32), np.zeros(1, np.float32)
    assert 0 < program_text.CONSTANTS < 64 << 10
    monkeypatch.setattr(program_text, "CONSTANTS", 500)
    tables = re.findall(r"static (\w+) const i8 T\w+\[(\d+)\]\[(\d+)\]", text_of(step, *arguments).source)
    assert {where for where, _, _ in tables} == {"__constant__", "__device__"}
    assert sum(8 * int(n) * int(m) for where, n, m in tables if where == "__constant__") <= 500
    assert compile_cuda(text_of(step, *arguments).source)[0][:4] == b"\x7fELF"


def test_no_launch_is_beyond_the_limits_of_a_grid() -> None:
    """Grids have 2^31 - 1 blocks across and 65,535 down, blocks 1,024 threads; a launch of any size has fewer."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        (x,) = rows
        y = x - np.max(x, axis=1, keepdims=True)
        z = np.exp(y) * state["w"]
        new = {"w": state["w"] - lr * np.sum(z, axis=0), "v": state["v"] * np.sum(y * y)}
        return new, {"halt": np.sum(z) != np.sum(z)}

    none = np.zeros(1, np.float32)
    for batch, columns in ((1 << 15, 8192), (1 << 26, 4), (3, 8192)):
        state = {"w": np.broadcast_to(none, (columns,)), "v": np.broadcast_to(none, (1 << 31, 3))}
        data = (np.broadcast_to(none, (1, columns)),)
        signature = Signature(
            state=tuple((path, a.shape, a.dtype.str) for path, a in ((("w",), state["w"]), (("v",), state["v"]))),
            rows=(((batch, columns), data[0].dtype.str),), dtype="<f4", ordered=True,
        )  # fmt: skip
        text = write_cuda(make_plan(record(step, state, signature), CudaTarget(), ordered=True))
        for call in text.calls:
            assert call.grid[0] < 2**31
            assert call.grid[1] <= 65_535
            assert np.prod(call.block) <= 1024


def test_a_pass_over_more_than_two_to_the_31_numbers_counts_them_in_64_bits() -> None:
    count = 2**31 + 8

    def step(state: Any, rows: Any, lr: Any) -> Any:
        return {"w": state["w"] * 0.5 + state["w"][::-1]}, {"halt": lr[0] != lr[0]}

    for length, kind in ((count, "i8"), (2**20, "int")):
        form = (("w",), (length,), "<f4")
        signature = Signature(state=(form,), rows=(), dtype="<f4", ordered=False)
        recorded = record(step, {"w": np.broadcast_to(np.float32(0), (length,))}, signature)
        source = write_cuda(make_plan(recorded, CudaTarget(), ordered=False)).source
        assert f"const {kind} j = {kind}(" in source


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(
    ("left_out", "said"),
    [("join", "before the second stream has met the first"), ("fork", "its stream has not followed the first")],
)
def test_simulated_device_detects_streams_that_are_not_synchronised(left_out: str, said: str) -> None:
    trained = training(NETWORKS["relu, Adam"], "float32")
    player = type("Faulty", (Player,), {left_out: lambda self: None})()
    if left_out == "fork":
        with pytest.raises(WouldNotRun, match=said):
            trained.play(player)
    else:
        with pytest.warns(UserWarning, match=said):
            trained.play(player)
