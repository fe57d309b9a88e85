"""The CuPy backend as a whole on a played GPU: what a user asks of it, in each precision, and the first minutes on a GPU."""

from __future__ import annotations

import importlib.util
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_cupy.cuda_target import staging
from bpengine_cupy.cuda_target.staging import HostRows
from bpengine_steps.functions import compiled_function

import bpengine as bp
from bpengine.training import batching
from tests.backends.cuda_host import played_cupy
from tests.backends.cuda_host.player import Player
from tests.backends.cuda_host.streams import Streams
from tests.tolerances import agreement_rtol, compiled_state_rtol, reduced_rtol

NETWORK = bp.Network(5, [bp.Dense(4, "tanh"), bp.Dense(3)], "softmax_cross_entropy")
SCRIPT = Path(__file__).parents[2] / "bench" / "gpu_first.py"


@pytest.fixture
def rows(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 3, 60)


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("precision", ["float32", "float64", "tf32", "bfloat16"])
def test_a_model_is_trained_and_asked_in_each_precision(
    precision: str, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    players: list[Player] = []
    played_cupy.play(monkeypatch, lambda: players.append(Player()) or players[-1])
    dtype = "float64" if precision == "float64" else "float32"
    backend = bp.get_backend("cupy", precision=precision)
    model, plain = (
        bp.Model(NETWORK, b, dtype=dtype, seed=1) for b in (backend, bp.get_backend("numpy", precision=dtype))
    )
    history, wanted = (m.fit(*rows, batch_size=20, epochs=1) for m in (model, plain))
    (player,) = players
    after_training = player.replays
    assert after_training == 3
    monkeypatch.setattr(compiled_function, "SMALL", 0)
    rounds = precision in ("tf32", "bfloat16")
    limit = reduced_rtol(precision, 3) if rounds else compiled_state_rtol(dtype, 3)
    np.testing.assert_allclose(history.loss, wanted.loss, rtol=limit)
    assert not rounds or not np.array_equal(history.loss, wanted.loss)
    same = bp.Model(NETWORK, bp.get_backend("numpy", precision=dtype), dtype=dtype)
    same.parameters = model.parameters
    x, y = rows
    limit = limit if rounds else agreement_rtol(dtype, 60)
    np.testing.assert_allclose(model.predict(x), same.predict(x), rtol=limit, atol=limit)
    assert model.evaluate(x, y)["loss"] == pytest.approx(same.evaluate(x, y)["loss"], rel=limit)
    gradients = model.loss_and_gradients(x, y)[1]
    for name, want in same.loss_and_gradients(x, y)[1].items():
        np.testing.assert_allclose(gradients[name], want, atol=4 * limit * np.abs(want).max())
    assert player.replays == after_training + 3


@pytest.mark.usefixtures("played")
def test_the_next_epochs_order_is_drawn_while_the_gpu_computes(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawers = list[str]()

    def noted(seed: int, epoch: int, count: int, *, shuffle: bool) -> Any:
        drawers.append(threading.current_thread().name)
        return np.arange(count, dtype=np.int32)

    played_cupy.play(monkeypatch, Player)
    monkeypatch.setattr(batching, "SLOW", 60)
    monkeypatch.setattr(batching, "epoch_order", noted)
    bp.Model(NETWORK, "cupy", seed=1).fit(*rows, batch_size=20, epochs=3)
    assert len(drawers) == 3
    assert all(name.startswith("bpengine-ahead") for name in drawers)


@pytest.mark.usefixtures("played")
def test_many_rows_stay_on_the_host_until_a_program_has_its_memory(
    rows: Any, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    x, y = (np.concatenate([a] * 12) for a in rows)
    played_cupy.play(monkeypatch)
    backend = bp.get_backend("cupy")
    few = backend.bring_rows((x, y), ["float32", "int32"], by_number=True)
    assert not any(isinstance(a, HostRows) for a in few)
    wanted = bp.Model(NETWORK, "cupy", seed=1).fit(x, y, batch_size=20, epochs=2)

    monkeypatch.setattr(staging, "RESERVE", 0)
    size = x.nbytes + 4 * len(y)
    for memory, copied in ((1 << 20, 0), (size + 4096, 2 * size)):
        device = Streams()
        device.memory = memory
        played_cupy.play(monkeypatch, lambda device=device: device, lambda: 1000)
        backend = bp.get_backend("cupy")
        many = backend.bring_rows((x, y), ["float32", "int32"], by_number=True)
        assert all(isinstance(a, HostRows) for a in many)
        np.testing.assert_array_equal(backend.take(many[0], np.array([3, 1])), x[[3, 1]])
        whole = backend.bring_rows((x, y), ["float32", "int32"])
        assert not any(isinstance(a, HostRows) for a in whole)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            history = bp.Model(NETWORK, "cupy", seed=1).fit(x, y, batch_size=20, epochs=2)
        np.testing.assert_array_equal(history.loss, wanted.loss)
        assert device.copied == copied
    assert not recwarn.list


def test_a_step_that_is_not_compiled_takes_rows_from_the_host(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVRTC is gone: it is said, and the step runs as it is written."""

    class Gone(Player):
        def kernels(self, source: str) -> Any:
            raise OSError("libnvrtc.so.13: cannot open shared object file")

    played_cupy.play(monkeypatch, Gone, lambda: 1000)
    with pytest.warns(
        UserWarning, match="CUDA cannot compile the training step, which goes on without: OSError.*nvrtc"
    ):
        history = bp.Model(NETWORK, "cupy", seed=1).fit(*rows, batch_size=20, epochs=1)
    wanted = bp.Model(NETWORK, "numpy", seed=1).fit(*rows, batch_size=20, epochs=1)
    np.testing.assert_allclose(history.loss, wanted.loss, rtol=compiled_state_rtol("float32", 3))
    played_cupy.play(monkeypatch, Gone)
    with pytest.raises(bp.ConfigError, match=r"step that CUDA can compile, got OSError.*Use precision='float32'"):
        bp.Model(NETWORK, bp.get_backend("cupy", precision="bfloat16"), seed=1).fit(*rows, batch_size=20, epochs=1)


@pytest.mark.usefixtures("played")
def test_a_gpu_that_is_lost_while_it_trains_is_one_error(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(Player):
        def replay(self, graph: Any) -> None:
            if self.replays == 2:
                raise played_cupy.PlayedError("cudaErrorIllegalAddress: an illegal memory access was encountered")
            super().replay(graph)

    played_cupy.play(monkeypatch, Lost)
    model = bp.Model(NETWORK, "cupy", seed=1)
    before = dict(model.parameters)
    with pytest.raises(bp.BackendUnavailable, match=r"lost 'cuda:0' while it trained: cudaErrorIllegalAddress"):
        model.fit(*rows, batch_size=20, epochs=2)
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_an_evaluation_without_memory_is_one_error(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> Any:
        raise MemoryError("Out of memory allocating 4,096 bytes (allocated so far: 0 bytes).")

    played_cupy.play(monkeypatch, free=lambda: 3 << 20)
    model = bp.Model(NETWORK, "cupy", seed=1)
    before = dict(model.parameters)
    monkeypatch.setattr(bp.get_backend("cupy").xp._eager, "tanh", full)
    for ask in (lambda: model.predict(rows[0]), lambda: model.loss_and_gradients(*rows)):
        with pytest.raises(
            bp.BackendUnavailable, match=r"for an evaluation: Out of memory allocating.*, and 3 MiB are"
        ):
            ask()
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_a_precision_that_the_gpu_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    played_cupy.play(monkeypatch)
    monkeypatch.setattr(played_cupy.PlayedDevice, "compute_capability", "75")
    assert bp.get_backend("cupy").precision == "float32"
    for precision in ("tf32", "bfloat16"):
        with pytest.raises(
            bp.ConfigError, match=rf"'{precision}' requires a GPU of compute capability 8.0 or more, got 7.5"
        ):
            bp.get_backend("cupy", precision=precision)


def test_an_array_of_another_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(np.ndarray[Any, Any]):
        pass

    played_cupy.play(monkeypatch)
    backend = bp.get_backend("cupy")
    monkeypatch.setattr(Elsewhere, "device", played_cupy.PlayedDevice(1))
    with pytest.raises(
        bp.DataError, match=r"on 'cuda:0' requires arrays of this GPU or of the host, got one of 'cuda:1'"
    ):
        backend.asarray(np.ones(3).view(Elsewhere))


def test_too_many_rows_for_one_batch_say_what_helps(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **more: Any) -> Any:
        raise MemoryError("out of memory")

    played_cupy.play(monkeypatch, free=lambda: 1 << 20)
    model = bp.Model(NETWORK, "cupy", seed=1)
    monkeypatch.setattr("bpengine.backend.Backend.bring_rows", full)
    with pytest.raises(bp.BackendUnavailable, match=r"they take 0 MiB, and 1 MiB are free. Give a batch_size"):
        model.fit(*rows, epochs=1)


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the script of the first minutes on a GPU, on a played one, with few networks."""
    played_cupy.play(monkeypatch)
    spec = importlib.util.spec_from_file_location("gpu_first", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    networks = {"relu, adam": ([bp.Dense(6, "relu"), bp.Dense(3)], "softmax_cross_entropy", {})}
    monkeypatch.setattr(script, "NETWORKS", networks)
    monkeypatch.setattr(script, "SIZES", dict.fromkeys(("784-512-256-10, 1024", "1024x4-10, 1024"), ((4, 3, 2), 8, 4)))
    return script


@pytest.mark.thorough(keep=2)
@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("part", ["smallest", "profile", "bench", "correct", "further"])
def test_gpu_first_script_runs_on_a_simulated_gpu(
    part: str, first: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = {
        "correct": 4 + 2 * 2 + 1 + 2 + 2,
        "further": 3 + 2 + 2 + 2,
        "bench": 2 * (3 * 2 + 3) + 4,
        "smallest": 4,
        "profile": 1,
    }
    monkeypatch.setattr(first, "torch_graph", lambda name, precision: "left out")
    if part == "correct":  # these are about other networks
        monkeypatch.setattr(first, "repeats", lambda dtype: "left out")
        monkeypatch.setattr(first, "halts", lambda: "left out")
    if part == "smallest":
        first.NETWORKS["layer norm, residual"] = first.NETWORKS["relu, adam"]
    if part == "profile":
        first.SIZES["784-512-256-10, 128"] = ((4, 3, 2), 8, 4)
    failed = first.main(part, tmp_path / "results")
    said = capsys.readouterr().out
    assert not failed, said
    assert (tmp_path / "results" / f"{part}.txt").read_text() == said
    assert len(said.splitlines()) == 1 + lines[part]


def test_failed_line_is_counted_and_the_next_one_runs(
    first: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first, "speed", lambda name, precision: 1 / 0)
    monkeypatch.setattr(first, "device", lambda: "a GPU")
    assert first.main("profile", tmp_path) == 1
    said = capsys.readouterr().out
    assert said.startswith("ok    device: a GPU")
    assert "FAIL  784-512-256-10, 128: ZeroDivisionError" in said
    assert (tmp_path / "profile.txt").read_text() == said


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_mistake_in_a_layer_is_that_error_alone(precision: str, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(bp.Dense):
        def backward(self, *args: Any, **options: Any) -> Any:
            raise bp.ShapeError("layer 0 (Wrong) requires two gradients, got one.")

    played_cupy.play(monkeypatch)
    network = bp.Network(5, [Wrong(4), bp.Dense(3)], "softmax_cross_entropy")
    with pytest.raises(bp.ShapeError, match="requires two gradients"):  # a warning would be an error here
        bp.Model(network, bp.get_backend("cupy", precision=precision)).fit(*rows, batch_size=20, epochs=1)
