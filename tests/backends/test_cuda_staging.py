"""Rows that do not fit on the device: brought in pieces beside the training, on a played GPU with little memory."""

from __future__ import annotations

import importlib.util
import warnings
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bpengine_cupy.cuda_target import driver as driver_module
from bpengine_cupy.cuda_target import staging
from bpengine_cupy.cuda_target.codegen.program_text import write_cuda
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.staging import HostRows, StagedRows
from bpengine_cupy.cuda_target.target import CudaTarget
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import flushed
from bpengine_steps.adaptive import CompiledEpochs
from bpengine_steps.plan import make_plan
from bpengine_steps.signature import Signature
from bpengine_steps.tracing import record

import bpengine as bp
from bpengine.backend import Backend
from tests.backends.cuda_host.player import WouldNotRun
from tests.backends.cuda_host.streams import EARLY, LATE, Streams

ROWS, INPUTS = 1500, 5
NETWORK = bp.Network(INPUTS, [bp.Dense(4, "tanh"), bp.Dense(3)], "softmax_cross_entropy")
ROW_BYTES = 4 * (INPUTS + 1)


class Watched(CudaProgram):
    """Tells the device how the rows of its steps lie, so that it sees which of them are read."""

    _driver: Streams

    def bind(self, *args: Any) -> Any:
        rows = self.plan.step.rows
        self._driver.batch = rows[0].shape[0]
        self._driver.widths = tuple(n.size // n.shape[0] * n.dtype.itemsize for n in rows)
        return super().bind(*args)


class Small(NumpyBackend):
    """Trains on a played GPU; the rows of a fit are the host's until a program has its memory."""

    def __init__(self, device: Streams) -> None:
        super().__init__()
        self.played = device
        eager = partial(Backend.run_epoch, self)
        self._epochs = CompiledEpochs(eager, float("-inf"), self._program, "CUDA", required=True)

    def bring_rows(self, arrays: Any, dtypes: Any, *, by_number: bool = False) -> Any:
        rows = [np.asarray(a, d) for a, d in zip(arrays, dtypes, strict=True)]
        return HostRows.of(rows, self.played) if by_number else tuple(rows)

    def _program(self, step: Any, state: Any, signature: Signature) -> CudaProgram:
        plan = make_plan(record(step, state, signature), CudaTarget(), ordered=signature.ordered)
        return Watched(write_cuda(plan), self.played)

    def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
        with np.errstate(all="ignore"), flushed():
            return self._epochs.run(step, state, data, order, lr)


def trained(device: Streams, **more: Any) -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(ROWS, INPUTS)).astype(np.float32), rng.integers(0, 3, ROWS)
    model = bp.Model(NETWORK, Small(device), seed=1)
    history = model.fit(x, y, **{"batch_size": 8, "epochs": 2, **more})
    return dict(model.parameters), history


@pytest.fixture
def resident() -> Any:
    """Return the result of a fit whose rows all fit on the device."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        device = Streams()
        result = trained(device)
    assert not device.copied
    return result


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("schedule", [LATE, EARLY])
@pytest.mark.parametrize("steps", [1, 5, 70])
def test_staged_rows_give_the_bits_of_rows_on_the_gpu(
    steps: int, schedule: str, resident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """187 full batches and a smaller one: pieces of one step, of a few, and of more than a window."""
    monkeypatch.setattr(staging, "PIECE_BYTES", steps * 8 * ROW_BYTES)
    monkeypatch.setattr(staging, "RESERVE", 0)
    device = Streams(schedule=schedule)
    device.memory = ROWS * ROW_BYTES
    with pytest.warns(UserWarning, match="0 MiB|1 MiB of GPU memory are free beside the step") as said:
        parameters, history = trained(device)
    assert len(said) == 1
    assert device.most <= device.memory
    assert device.copied == 2 * ROWS * ROW_BYTES
    np.testing.assert_array_equal(history.loss, resident[1].loss)
    for name, value in resident[0].items():
        np.testing.assert_array_equal(parameters[name], value, err_msg=name)
    assert device.used <= 2 * 20_000  # the programs' own: pieces are given back


@pytest.mark.usefixtures("played")
def test_halt_also_ends_the_copies_of_rows(resident: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "PIECE_BYTES", 5 * 8 * ROW_BYTES)
    monkeypatch.setattr(staging, "RESERVE", 0)
    stop = bp.LossBelow(float(np.sort(resident[1].loss)[3]))
    wanted, history = trained(Streams(), stop=stop)
    device = Streams(schedule=EARLY)
    device.memory = ROWS * ROW_BYTES
    with pytest.warns(UserWarning, match="stay on the host"):
        parameters, got = trained(device, stop=stop)
    assert got.steps == history.steps < 2 * 188
    assert not device._copies
    for name, value in wanted.items():
        np.testing.assert_array_equal(parameters[name], value, err_msg=name)


@pytest.mark.usefixtures("played")
def test_without_page_locked_memory_rows_come_from_ordinary_memory(
    resident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once in a fit, however many runs it has, and the bits are the same."""

    class Unlocked(Streams):
        asked = 0

        def pinned(self, size: int) -> Any:
            self.asked += 1
            raise MemoryError(f"{size} bytes of page-locked memory")

    monkeypatch.setattr(staging, "PIECE_BYTES", 5 * 8 * ROW_BYTES)
    monkeypatch.setattr(staging, "RESERVE", 0)
    device = Unlocked()
    device.memory = ROWS * ROW_BYTES
    with pytest.warns(UserWarning, match="page-locked|stay on the host") as said:
        parameters, _ = trained(device)
    texts = [str(warning.message) for warning in said]
    assert len(texts) == 2
    assert "stay on the host" in texts[0]
    assert (
        "no 1 MiB of page-locked memory: rows are copied to the GPU from ordinary memory, which is slower" in texts[1]
    )
    assert device.asked == 1
    assert device.copied == 2 * ROWS * ROW_BYTES
    for name, value in resident[0].items():
        np.testing.assert_array_equal(parameters[name], value, err_msg=name)


@pytest.mark.parametrize("status", [2, 719])
def test_only_missing_page_locked_memory_is_a_lack_of_memory(status: int) -> None:
    """CUDA answers with the same kind of error where the GPU is lost, by another number."""
    spec = importlib.util.spec_from_file_location("driver_as_written", str(driver_module.__file__))
    assert spec is not None
    assert spec.loader is not None
    written = importlib.util.module_from_spec(spec)  # the driver that is imported may be a played one
    spec.loader.exec_module(written)
    driver: Any = written.CupyDriver.__new__(written.CupyDriver)

    def refuse(size: int) -> Any:
        raise Refused(status)

    runtime = SimpleNamespace(
        CUDARuntimeError=Refused, errorMemoryAllocation=2, memcpyAsync=lambda *arguments: None, memcpyDeviceToHost=2
    )
    event = SimpleNamespace(record=lambda stream: None, synchronize=lambda: None)
    cuda = SimpleNamespace(runtime=runtime, alloc_pinned_memory=refuse, Event=lambda disable_timing: event)
    driver._cupy, driver._streams = SimpleNamespace(cuda=cuda), [SimpleNamespace(ptr=0)]
    lost = status != 2
    with pytest.raises(Refused if lost else MemoryError):
        driver.pinned(100)
    if lost:
        with pytest.raises(Refused):
            driver.look(0)
    else:
        assert driver.look(0)() is False
    cuda.alloc_pinned_memory = bytearray
    assert driver.pinned(100).nbytes == 100


class Refused(RuntimeError):
    """CUDA's error."""

    def __init__(self, status: int) -> None:
        super().__init__(f"error {status}")
        self.status = status


FAULTS = {
    "the step does not wait for the copy": ("after", lambda self, sent: None),
    "a copy does not wait for the steps that read its place": (
        "send",
        lambda self, pairs, behind: Streams.send(self, pairs, None),
    ),
    "rows are gathered where a copy still reads": ("finish", lambda self, sent: None),
}


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("fault", FAULTS)
def test_comparison_finds_a_planted_fault(fault: str, resident: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name, broken = FAULTS[fault]
    monkeypatch.setattr(staging, "PIECE_BYTES", 8 * ROW_BYTES)
    monkeypatch.setattr(staging, "RESERVE", 0)
    noticed = []
    for schedule in (LATE, EARLY):
        device = type("Faulty", (Streams,), {name: broken})(schedule=schedule)
        device.memory = ROWS * ROW_BYTES
        try:
            with pytest.warns(UserWarning, match="stay on the host"):
                parameters, _ = trained(device)
        except WouldNotRun as error:
            noticed.append(str(error))
            continue
        if any(not np.array_equal(parameters[n], value) for n, value in resident[0].items()):
            noticed.append("other bits")
    assert noticed


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("memory", [80_000, 110_000, 140_000])
def test_a_step_that_does_not_fit_says_which_batch_would(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is true: the batch that it names is trained."""
    monkeypatch.setattr(staging, "RESERVE", 0)

    def attempt(batch: int) -> Any:
        device = Streams()
        device.memory = memory
        return trained(device, batch_size=batch, steps=2)

    with pytest.raises(
        bp.BackendUnavailable, match=r"0\.\d MiB are needed.*are free. batch_size=(\d+) would fit"
    ) as raised:
        attempt(1400)
    fits = int(str(raised.value).split("batch_size=")[1].split(" ")[0])
    assert memory / 1600 < fits < 1400
    with pytest.warns(UserWarning, match="stay on the host"):
        attempt(fits)


def test_memory_too_small_for_two_batches_raises_one_error(rng: np.random.Generator) -> None:
    device = Streams()
    device.memory = 4000
    rows = HostRows.of([rng.normal(size=(100, 10))], device)
    with pytest.raises(bp.BackendUnavailable, match=r"two batches of 50 rows take 1 MiB.*batch_size=12 fits"):
        StagedRows(device, rows, np.arange(100).reshape(2, 50), lambda sizes: [])


def test_rows_on_the_host_are_not_copied(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(10, 2)), rng.normal(size=10)
    rows = HostRows.of([x, y], Streams())
    assert all(np.shares_memory(a, b) for a, b in zip(rows, (x, y), strict=True))
    assert rows[0].placement is rows[1].placement is not None
    assert rows[0][:5].placement is None  # a part of them is not what is placed
