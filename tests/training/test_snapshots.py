"""The way back of a large state: kept on disk now and then, run again from there, exact to the bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import Backend, get_backend
from bpengine.output import opening
from bpengine.training import batching
from bpengine.training.memory import snapshots, spill
from tests.training.test_loop import PLAIN, same_parameters

Files = list[FileIO]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    """Treat every state as large and every snapshot as due; return the temporary files that are opened."""
    opened: Files = []
    real = opening.nameless_file

    def noted() -> FileIO:
        opened.append(real())
        return opened[-1]

    monkeypatch.setattr(spill, "SMALL", 0)
    monkeypatch.setattr(snapshots, "time", SimpleNamespace(perf_counter=itertools.count(step=60.0).__next__))
    monkeypatch.setattr(snapshots, "SHARE", 1.0)
    monkeypatch.setattr(opening, "nameless_file", noted)
    return opened


def keep_every(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Let a state be due every n-th time only."""
    monkeypatch.setattr(snapshots, "SHARE", 1 / n)


def diverging(rng: np.random.Generator, folder: Path, *, mapped: bool) -> tuple[Any, dict[str, Any]]:
    """Return rows, on disk or in memory, and settings of a fit whose loss overflows after some epochs."""
    x = rng.normal(size=(64, 2)).astype(np.float32) * 10
    np.save(folder / "x.npy", x)
    x = np.load(folder / "x.npy", mmap_mode="r") if mapped else x
    return (x, np.array(x[:, 0])), {"optimizer": bp.Momentum(0.05), "batch_size": 16}


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("rarely", [1, 3, 1000])
def test_last_finite_state_is_restored_across_segments(
    rarely: int, mapped: bool, files: Files, backend_name: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator,
) -> None:  # fmt: skip
    monkeypatch.setattr(batching, "WINDOW", 32)
    keep_every(monkeypatch, rarely)
    rows, settings = diverging(rng, tmp_path, mapped=mapped)
    network = bp.Network(2, [bp.Dense(1)], "mean_squared_error")
    model, same = (bp.Model(network, backend_name) for _ in range(2))
    with pytest.raises(bp.NonFiniteError) as caught:
        model.fit(*rows, **settings, epochs=50)
    history = caught.value.history
    assert history.steps > 15
    assert len(files) == (2 if rarely == 1000 else 3)  # what the model was before, and two states in turns
    same.fit(*rows, **settings, steps=history.steps - 2)
    assert same_parameters(model, same)


def interrupting(backend: Backend, at: int, times: int) -> Callable[..., Any]:
    """Return a run_epoch that runs, and from the call `at` on is interrupted so many times: the state given is lost."""
    run_epoch, calls = backend.run_epoch, itertools.count()

    def run(*args: Any, **options: Any) -> Any:
        result = run_epoch(*args, **options)
        if at <= next(calls) < at + times:
            raise KeyboardInterrupt
        return result

    return run


@pytest.mark.parametrize("times", [1, 2])
def test_interrupt_during_a_donated_state_restores_it(
    times: int, files: Files, backend_name: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """All that was recorded is run again; interrupted in that, too, the last state that was kept is what there is."""
    keep_every(monkeypatch, 3)
    x, y = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    model, same = (bp.Model(PLAIN, backend_name) for _ in range(2))
    monkeypatch.setattr(model.backend, "run_epoch", interrupting(model.backend, 9, times), raising=False)
    history = model.fit(x, y, batch_size=20, epochs=20)
    assert history.stopped_by == "interrupted"
    assert len(history.epochs) * 3 == history.steps
    assert history.steps == 27 if times == 1 else 0 < history.steps < 27
    monkeypatch.undo()
    reference = same.fit(x, y, batch_size=20, steps=history.steps)
    np.testing.assert_array_equal(history.loss, reference.loss)
    assert same_parameters(model, same)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), ValueError("a callback's own")], ids=repr)
def test_no_file_outlives_the_fit(error: BaseException | None, files: Files, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)

    def end(model: bp.Model, epoch: bp.training.Epoch) -> bool:
        assert not any(file.closed for file in files)
        if error and epoch.number == 5:
            raise error
        return epoch.number == 5

    with pytest.raises(ValueError, match="own") if isinstance(error, ValueError) else nullcontext():
        bp.Model(PLAIN).fit(x, y, batch_size=20, epochs=10, callbacks=end)
    assert [file.closed for file in files] == [
        True
    ] * 3  # what the model was before, and two that are written over in turns


def full_disk(**_: Any) -> FileIO:
    return Path("/dev/full").open("w+b", buffering=0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no disk that is always full")
@pytest.mark.parametrize("full", [False, True], ids=["disk", "full disk"])
def test_a_fit_that_fails_gives_a_large_model_back_as_it_was(
    files: Files, backend_name: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, *, full: bool
) -> None:
    """The fit trains the model's own arrays, of which there is no copy in memory."""

    def fail(*args: Any, **options: Any) -> Any:
        held.append(bool(model._params))
        run_epoch(*args, **options)
        raise ValueError("a disk's own")

    if full:
        monkeypatch.setattr(opening, "nameless_file", full_disk)
    x, y, held = rng.normal(size=(60, 5)), rng.integers(0, 3, 60), list[bool]()
    model, same = (bp.Model(PLAIN, backend_name) for _ in range(2))
    run_epoch = model.backend.run_epoch
    monkeypatch.setattr(model.backend, "run_epoch", fail, raising=False)
    with pytest.raises(ValueError, match="a disk's own"):
        model.fit(x, y, epochs=3)
    assert held == [False]
    assert same_parameters(model, same)
    monkeypatch.undo()
    for each in (model, same):
        each.fit(x, y, epochs=3)
    assert same_parameters(model, same)
    assert list(model.parameters) == list(same.parameters)


@pytest.mark.parametrize("place", [(opening, "nameless_file"), (spill, "_write_array")], ids=["open", "write"])
def test_without_a_disk_states_are_kept_in_memory(
    place: tuple[Any, str], files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rng: np.random.Generator
) -> None:
    rows, settings = diverging(rng, tmp_path, mapped=False)
    network = bp.Network(2, [bp.Dense(1)], "mean_squared_error")
    model, same = (bp.Model(network) for _ in range(2))

    def full(*args: Any, **settings: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*place, full)
    with pytest.raises(bp.NonFiniteError) as caught:
        model.fit(*rows, **settings, epochs=50)
    same.fit(*rows, **settings, steps=caught.value.history.steps - 2)
    assert same_parameters(model, same)
    assert all(file.closed for file in files)


def test_snapshots_take_a_bounded_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock advances one second per reading: a write takes one second, so the next is due a hundred seconds later."""
    clock = itertools.count().__next__
    monkeypatch.setattr(snapshots, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(spill, "SMALL", 0)
    state, kept = {"w": np.zeros(3, np.float32)}, []
    with snapshots.Snapshots(get_backend("numpy"), (0, dict), lambda state, start, stop: state) as way_back:
        for step in range(400):
            way_back.note(step, state)
            kept.append(way_back.last(step)[0])
    times = len(set(kept))
    assert 4 <= times <= 5


def test_report_of_a_failed_fit_does_not_depend_on_snapshot_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second update is not finite, the third loss, of a segment of its own, shows it."""
    network = bp.Network(1, [bp.Dense(1, weight_init="zeros")], "mean_squared_error")
    x, y = np.ones((5, 1), "float32"), np.array([[0], [0], [100], [100], [0]], "float32")

    def message() -> str:
        with pytest.raises(bp.NonFiniteError) as raised:
            bp.Model(network).fit(x, y, batch_size=2, epochs=1, shuffle=False, optimizer=bp.SGD(1e38))
        return str(raised.value)

    seldom, note = message(), snapshots.Snapshots.note

    def always(self: snapshots.Snapshots, *arguments: Any) -> None:
        self._due = 0.0
        note(self, *arguments)

    monkeypatch.setattr(snapshots.Snapshots, "note", always)
    assert "finite loss, got" in seldom
    assert message() == seldom


def test_non_finite_state_does_not_replace_a_snapshot(files: Files) -> None:
    """Two states are kept; two non-finite ones must not replace them."""
    backend = get_backend("numpy")
    state = {"params": {"w": np.zeros(1, "float32")}}
    with snapshots.Snapshots(backend, (0, lambda: state), lambda state, start, stop: state) as way_back:
        for step in (1, 2):
            way_back.note(step, state, lambda: False)
        assert way_back.first == 0
