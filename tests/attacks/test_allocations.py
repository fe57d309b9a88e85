"""A short round of allocations and writes that fail, and the cases that were found to be wrong once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.output.writing import write_whole
from tests.attacks import allocations, failing
from tests.attacks.allocations import Case, Ground, attack, attack_on, kept
from tests.attacks.trainings import state_of

pytestmark = pytest.mark.skipif(
    not failing.possible(), reason="allocators are replaced by CPython's own interface, on Linux"
)
SHORT = ("Save", "Load", "Keep", "Normal")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("ground"), tuple(dict.fromkeys([*SHORT, *(case.action for case in kept())])))


def test_failed_calls_leave_files_and_models_intact(ground: Ground) -> None:
    report = attack_on(ground, float("inf"), 5, most=8)
    assert sum(report.done.values()) == 8
    assert not report.failures, str(report)


@pytest.mark.thorough
def test_whatever_fails_in_all_actions_leaves_what_is_promised() -> None:
    report = attack(float("inf"), 5, most=150)
    assert sum(report.done.values()) == 150
    assert not report.failures, str(report)


@pytest.mark.parametrize("case", kept(), ids=lambda case: "-".join(map(str, case)))
def test_recorded_failures_stay_fixed(case: Case, ground: Ground) -> None:
    assert ground.problem(case)[0] is None


def test_save_without_memory_raises_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    old, new = (bp.Model(bp.Network(600, bp.Dense(600), "mean_squared_error"), seed=seed) for seed in (1, 2))
    old.save(path)
    with failing.allocations() as large:
        new.save(tmp_path / "other")
        count = large()
    assert count > 0
    for k in range(1, count + 1):
        with pytest.raises(MemoryError), failing.allocations(k, k):
            new.save(path)
        assert state_of(bp.load(path)) == state_of(old)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "other"]


def test_the_large_allocations_of_python_and_numpy_fail_one_by_one() -> None:
    def work() -> tuple[Any, ...]:
        return np.ones(2**18), bytes(2**20), np.zeros(2**18), np.ones(10), list(range(10))

    with failing.allocations() as large:
        work()
        assert large() == 3
    for k in range(1, 4):
        with pytest.raises(MemoryError), failing.allocations(k, k):
            work()
    with failing.allocations(4, 4):
        work()
    work()


def test_writes_fail_one_by_one_and_in_every_way(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with failing.Writes() as counted:
        write_whole(path, b"old")
    for how in failing.HOW:
        for k in range(1, counted.count + 1):
            before = path.read_bytes()
            try:
                with failing.Writes(k, how):
                    write_whole(path, how.encode())
            except bp.WriteError:
                assert path.read_bytes() == before
            else:
                assert path.read_bytes() == how.encode()
    assert os.listdir(tmp_path) == ["file"]


def test_attack_reports_an_unexpected_outcome_as_a_failure(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocations.Load, "look", lambda self, raised: "broken" if raised else None)
    monkeypatch.setattr(ground, "cases", [case for case in ground.cases if case.action == "Load"])
    report = attack_on(ground, float("inf"), 1, most=3)
    assert "broken" in str(report)
