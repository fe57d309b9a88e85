"""What a running fit shows: within epochs too, on terminals, in notebooks and in logs; and never other numbers for it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.training.checkpoints.folder_contents import lines
from bpengine.training.progress import Progress, progress, views
from bpengine.training.progress.progress import Pace
from bpengine.training.progress.views import Standing, clock

NET = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(1)], "mean_squared_error")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(600, 3)), RNG.normal(size=(600, 1))


class Kept(views.LogLines):
    """Records every report."""

    every = 0.0

    def __init__(self) -> None:
        self.shown: list[Standing] = []
        self.ended: Standing | None = None

    def show(self, standing: Standing) -> None:
        self.shown.append(standing)

    def stop(self, standing: Standing | None) -> None:
        self.ended = standing


def watched_fit(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[bp.History, Kept]:
    kept = Kept()
    monkeypatch.setattr(progress, "chosen_views", lambda *, show: [kept])
    return bp.Model(NET).fit(X, Y, **settings), kept


@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"batch_size": 7}, {}], ids=["many steps", "a rest", "full"])
def test_progress_reporting_changes_no_bit(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = bp.Model(NET).fit(X, Y, epochs=3, **settings)
    history, _ = watched_fit(monkeypatch, epochs=3, **settings)
    assert np.array_equal(history.loss, alone.loss)
    assert [e.loss for e in history.epochs] == [e.loss for e in alone.epochs]


def test_progress_is_shown_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SLICE", 1e-9)  # the shortest runs, however fast the machine is
    _, kept = watched_fit(monkeypatch, epochs=2, batch_size=2, validation=(X[:9], Y[:9]))
    within = [s for s in kept.shown if s.steps % 300]
    assert {s.epoch for s in within} == {1, 2}
    assert all(s.total == 600 and s.epochs == 2 for s in kept.shown)
    assert any(s.scores for s in within if s.epoch == 2)
    assert all(s.rate and s.left is not None for s in kept.shown[1:])
    assert kept.ended is not None
    assert kept.ended.steps == 600


def test_the_loss_of_a_step_and_the_mean_of_an_epoch_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(progress, "SLICE", 1e-9)
    history, kept = watched_fit(monkeypatch, epochs=2, batch_size=2, run=tmp_path)
    means = [s for s in kept.shown if s.mean]
    assert [(s.steps, s.loss) for s in means] == [(e.steps, e.loss) for e in history.epochs]
    assert all(f", mean loss {s.loss:.4g}" in s.words() for s in means)
    within = [s for s in kept.shown if not s.mean]
    assert all(s.loss == history.loss[s.steps - 1] and f", loss {s.loss:.4g}" in s.words() for s in within)
    assert lines(tmp_path)[-1].loss == history.loss[-1] != history.epochs[-1].loss


def test_time_left_uses_the_earliest_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    _, kept = watched_fit(monkeypatch, epochs=4, steps=500, batch_size=2)
    assert {s.total for s in kept.shown} == {500}


def test_a_fit_that_continues_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model, kept = bp.Model(NET), Kept()
    first = model.fit(X, Y, epochs=2, batch_size=100)
    monkeypatch.setattr(progress, "chosen_views", lambda *, show: [kept])
    model.fit(X, Y, epochs=3, batch_size=100, continue_from=first)
    assert (kept.shown[0].epochs, kept.shown[0].total) == (5, 30)
    assert kept.shown[0].steps >= 12
    assert (kept.shown[-1].epoch, kept.shown[-1].steps) == (5, 30)


def test_rate_and_time_left_follow_the_clock() -> None:
    pace = Pace()
    pace.add(10.0, 0, 0)
    assert pace.rate() is None
    for second in range(1, 5):
        pace.add(10.0 + second, 5 * second, 40)
    assert pace.rate() == 40.0
    assert pace.left(120) == 20.0
    assert pace.left(None) is None
    assert [clock(s) for s in (0.4, 59.6, 3599.7)] == ["0:00", "1:00", "1:00:00"]


def test_the_api_is_quiet_unless_the_program_logs(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views.LogLines, "every", 0.0)
    bp.Model(NET).fit(X, Y, epochs=2, batch_size=2)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    with caplog.at_level(logging.INFO, "bpengine"):
        bp.Model(NET).fit(X, Y, epochs=2, batch_size=2)
    assert caplog.records[0].message.startswith("epoch 1 of 2, step 64 of 600, loss ")
    assert caplog.records[0].name == "bpengine.training"
    assert caplog.records[-1].message.startswith("ended: epoch 2 of 2, step 600 of 600")


def test_a_short_fit_logs_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views.LogLines, "every", 3600.0)
    with caplog.at_level(logging.INFO, "bpengine"):
        bp.Model(NET).fit(X, Y, epochs=2, batch_size=2)
    assert not caplog.records


def test_the_command_line_logs_to_stderr(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from bpengine.cli import main

    monkeypatch.setattr(views.LogLines, "every", 0.0)
    assert main(["train", "blobs", "--epochs", "2", "--json"]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("bpengine: ") for line in lines)
    assert not logging.getLogger("bpengine").isEnabledFor(logging.INFO)


def test_a_terminal_has_a_bar_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(views.TerminalBar, "every", 0.0)
    bp.Model(NET).fit(X, Y, epochs=2, batch_size=2, progress=True)
    drawn = capsys.readouterr().err
    assert "training" in drawn
    assert "rows/s" in drawn


def test_a_notebook_has_a_bar_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, str]] = []

    class Handle:
        def update(self, what: str) -> None:
            shown.append(("update", what))

    class Display:
        HTML = staticmethod(str)

        @staticmethod
        def display(what: str, *, display_id: bool) -> Handle:
            shown.append(("display", what))
            return Handle()

    class IPython:
        @staticmethod
        def get_ipython() -> Any:
            return type("Shell", (), {"kernel": object()})

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    monkeypatch.setitem(sys.modules, "IPython.display", Display)
    monkeypatch.setattr(views.NotebookBar, "every", 0.0)
    bp.Model(NET).fit(X, Y, epochs=2, batch_size=2, progress=True)
    assert [kind for kind, _ in shown].count("display") == 1
    assert shown[0][0] == "display"
    assert "<progress max=" in shown[0][1]
    assert "step 600 of 600" in shown[-1][1]


def test_processes_but_the_first_show_nothing() -> None:
    assert not Progress(show=True, log=False).watched
