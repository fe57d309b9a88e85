"""Evaluations on a GPU with too little memory: fewer rows at once, memory that idle programs give back, one clear error."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bpengine_steps.functions import CompiledFunction, RecordedFunction, compiled_function

import bpengine as bp
from bpengine.derivatives import jacobian
from bpengine.errors import DeviceMemoryError
from bpengine.training import evaluation
from bpengine.training.memory.row_room import RowRoom
from tests.backends.cuda_host import played_cupy
from tests.backends.cuda_host.streams import Streams
from tests.tolerances import agreement_rtol

NETWORK = bp.Network(5, [bp.Dense(40, "tanh"), bp.Dense(3)], "softmax_cross_entropy")
ROWS, PIECE = 700, 256


class Limited(Streams):
    """A device that counts how many programs it had no memory for."""

    refused = 0

    def empty(self, size: int) -> Any:
        if size > self.free():
            self.refused += 1
        return super().empty(size)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, played: None) -> Limited:
    """Let programs run on one device with as much memory as they like; functions of any size are compiled."""
    device = Limited()
    monkeypatch.setattr(compiled_function, "SMALL", 0)
    for module in (evaluation, jacobian):
        monkeypatch.setattr(module, "CHUNK", PIECE)
    played_cupy.play(monkeypatch, lambda: device)
    return device


@pytest.fixture
def rows(rng: np.random.Generator) -> Any:
    return rng.normal(size=(ROWS, 5)).astype(np.float32), rng.integers(0, 3, ROWS), rng.uniform(0, 2, ROWS)


def asked(model: bp.Model, rows: Any) -> dict[str, Callable[[], Any]]:
    x, y, weights = rows
    return {
        "predict": lambda: model.predict(x),
        "forward": lambda: model.forward(x),
        "evaluate": lambda: list(model.evaluate(x, y, weights, metrics=["accuracy"]).values()),
        "jacobian": lambda: model.jacobian(x[:90]),
    }


@pytest.mark.parametrize("question", ["predict", "forward", "evaluate", "jacobian"])
def test_an_evaluation_that_does_not_fit_goes_on_with_fewer_rows(question: str, device: Limited, rows: Any) -> None:
    model, plain = (bp.Model(NETWORK, b, seed=1) for b in ("cupy", "numpy"))
    ask, wanted = asked(model, rows)[question], asked(plain, rows)[question]()
    ask()
    whole = device.most  # of two programs: of whole pieces, and of the last one
    del model, ask
    bp.clear_caches()
    gc.collect()
    ask = asked(bp.Model(NETWORK, "cupy", seed=1), rows)[question]
    device.memory, device.replays = device.used + whole // 3, 0
    with pytest.warns(
        UserWarning, match=r"256 rows at once take 0\.1 MiB of GPU memory, and .* with (64|32) rows at once"
    ) as said:
        answer = ask()
    assert len([w for w in said if "evaluations go on" in str(w.message)]) == 1
    # at least three times as many parts as pieces, each one graph
    assert device.replays >= 3 * (270 if question == "jacobian" else ROWS) / PIECE
    limit = agreement_rtol("float32", ROWS)
    for ours, theirs in zip(answer, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=limit, atol=limit * np.abs(wanted[0]).max())
    device.refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = ask()  # the first call may have learned in its course that even fewer fit
    np.testing.assert_allclose(np.concatenate(again, None), np.concatenate(answer, None), rtol=limit, atol=limit)
    assert not device.refused, "what does not fit is tried once"


def test_what_runs_as_it_is_written_goes_on_with_fewer_rows_as_well(
    device: Limited, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CuPy says how much it could not allocate, not how much the whole takes, so half of the rows are tried, and so on."""
    x, y, _ = rows
    model, plain = (bp.Model(NETWORK, b, seed=1) for b in ("cupy", "numpy"))
    tanh, sizes = model.backend.xp._eager.tanh, list[int]()

    def limited(z: Any) -> Any:
        if len(z) > 100:
            raise MemoryError("Out of memory allocating 4,096 bytes")
        sizes.append(len(z))
        return tanh(z)

    monkeypatch.setattr(compiled_function, "SMALL", 1 << 62)
    monkeypatch.setattr(model.backend.xp._eager, "tanh", limited)
    with pytest.warns(
        UserWarning, match="too little memory for 700 rows at once: .* go on with 64 rows at once"
    ) as said:
        gradients = model.per_sample_gradients(x, y)
    assert len(said) == 1
    assert sizes == [64] * 10 + [60]
    monkeypatch.undo()
    for name, value in plain.per_sample_gradients(x, y).items():
        np.testing.assert_allclose(gradients[name], value, atol=agreement_rtol("float32", 40) * np.abs(value).max())


def test_a_single_row_that_does_not_fit_is_one_error(device: Limited, rows: Any) -> None:
    model = bp.Model(NETWORK, "cupy", seed=1)
    before = dict(model.parameters)
    device.memory = device.used + 1000
    with pytest.raises(
        DeviceMemoryError,
        match=r"for an evaluation: 0\.0 MiB are needed, and 0\.0 MiB are free\. Give fewer rows at once",
    ):
        model.predict(rows[0])
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_gradients_that_do_not_fit_run_as_they_are_written(device: Limited, rows: Any) -> None:
    """They are means over all rows, so smaller parts would be other numbers."""
    x, y, _ = rows
    model, plain = (bp.Model(NETWORK, b, seed=1) for b in ("cupy", "numpy"))
    device.memory = device.used + 50_000
    with pytest.warns(
        UserWarning, match=r"700 rows at once takes 0\.\d MiB .* compiled, and 0\.0 MiB are free: it runs"
    ):
        loss, gradients = model.loss_and_gradients(x, y)
    wanted_loss, wanted = plain.loss_and_gradients(x, y)
    limit = agreement_rtol("float32", ROWS)
    assert loss == pytest.approx(wanted_loss, rel=limit)
    for name, value in wanted.items():
        np.testing.assert_allclose(gradients[name], value, atol=limit * np.abs(value).max())


def test_gradients_that_fit_in_no_way_say_how_many_rows_would(
    device: Limited, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is true: that many rows are computed."""

    def full(*args: Any) -> Any:
        raise MemoryError("Out of memory allocating 4,096 bytes (allocated so far: 0 bytes).")

    x, y, _ = rows
    wide = bp.Network(5, [bp.Dense(400, "tanh"), bp.Dense(3)], "softmax_cross_entropy")
    model = bp.Model(wide, "cupy", seed=1)
    before = dict(model.parameters)
    monkeypatch.setattr(model.backend.xp._eager, "tanh", full)
    device.memory = device.used + 200_000
    with pytest.raises(
        DeviceMemoryError,
        match=r"all 700 rows at once, which need \d\.\d MiB .* and 0\.2 MiB are free. (\d+) rows .* fit",
    ) as raised:
        model.loss_and_gradients(x, y)
    fits = int(str(raised.value).split(" rows at once would fit")[0].rsplit(" ", 1)[1])
    assert 20 < fits < ROWS
    monkeypatch.setattr(model.backend.xp._eager, "tanh", np.tanh)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.loss_and_gradients(x[:fits], y[:fits])
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("then", ["evaluate", "fit"])
def test_programs_that_do_not_run_give_their_memory_back(then: str, device: Limited, rows: Any) -> None:
    """What is asked next fits only where earlier predictions hold nothing; they are repeated with the same bits."""
    x, y, _ = rows
    model = bp.Model(NETWORK, "cupy", seed=1)
    first = model.predict(x)
    held = device.used
    device.memory = held + 1000
    device.refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if then == "fit":
            model.fit(x[:100], y[:100], batch_size=20, epochs=1)
        else:
            model.evaluate(x, y)
            np.testing.assert_array_equal(model.predict(x), first)
    assert device.refused > 0
    assert device.used <= device.memory


def test_an_array_takes_memory_that_idle_programs_give_back(
    device: Limited, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bp.Model(NETWORK, "cupy", seed=1)
    model.predict(rows[0])
    held, cupy = device.used, model.backend._cupy

    def limited(*args: Any, **options: Any) -> Any:
        if device.used >= held:
            raise MemoryError("Out of memory allocating 14,000 bytes")
        return np.array(*args, **options)

    monkeypatch.setattr(cupy, "array", limited)
    np.testing.assert_array_equal(model.backend.asarray(rows[0]), rows[0])


def test_a_program_that_cannot_be_compiled_holds_no_memory(
    device: Limited, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(source: str) -> Any:
        raise OSError("libnvrtc.so.13: cannot open shared object file")

    monkeypatch.setattr(device, "kernels", gone)
    before = device.used
    with pytest.warns(UserWarning, match="CUDA cannot compile"):
        bp.Model(NETWORK, "cupy", seed=1).fit(*rows[:2], batch_size=100, epochs=1)
    assert device.most > before
    assert device.used == before


def test_a_form_that_does_not_fit_is_none_of_those_that_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function is compiled for so many forms of its arguments; attempts with fewer and fewer rows do not use them up."""
    monkeypatch.setattr(compiled_function, "SMALL", 0)
    monkeypatch.setattr(compiled_function, "SHAPES", 1)

    class Program:
        def __init__(self, recorded: RecordedFunction) -> None:
            (self.rows,) = next(iter(recorded.step.inputs.values())).shape

        def compile(self) -> None:
            if self.rows > 3:
                raise DeviceMemoryError("no memory")

        def results(self, arguments: Any) -> list[Any]:
            return ["compiled"]

    run = CompiledFunction(lambda x: x + 1.0, lambda make: make(), Program, kind=np.ndarray, compiler="CUDA")
    for rows in (9, 5):
        with pytest.raises(DeviceMemoryError):
            run(np.ones(rows))
    assert run(np.ones(3)) == "compiled"


def test_a_part_is_at_least_a_sixteenth_of_the_one_that_failed() -> None:
    """Small parts run as they are written, and take less than was computed for a compiled one."""
    room, tried = RowRoom(), list[int]()

    def compute(part: slice) -> int:
        tried.append(part.stop - part.start)
        if tried[-1] > 40:
            raise DeviceMemoryError.of("no memory", 1000, 0)
        return part.start

    with pytest.warns(UserWarning, match="700 rows at once take .* with 32 rows at once"):
        answers = list(room.parts(700, compute))
    assert tried == [700] + [32] * 21 + [28]
    assert [start for _, start in answers] == list(range(0, 700, 32))
