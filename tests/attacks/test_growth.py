"""What the attack on memory takes for growth; it is itself too long for a test."""

from __future__ import annotations

import os

import pytest

from tests.attacks.growth import KINDS, Report, attack, growth, measured, train


def test_first_hundreds_do_not_count_as_growth() -> None:
    assert growth([0, 10**9, 10**9, 10**9, 10**9]) is None
    assert growth([0, 50, 60, 100, 101, 102]) == pytest.approx(10.0)
    assert growth([0, 50, 60, 100, 101, 100]) == pytest.approx(0.0)


def test_attack_reports_growth_beyond_the_bound() -> None:
    report = Report(0)
    report.add("same", [0, 0, 0, 0, 10**6, 2 * 10**6], {}, 1.0)
    assert not report.failures
    report.add("different", [0, 0, 0, 0, 2 * 10**6, 4 * 10**6], {}, 1.0)  # each has code of its own, which is kept
    assert not report.failures
    report.add("other, same", [0, 0, 0, 0, 2 * 10**6, 4 * 10**6], {}, 1.0)
    assert report.failures == ["other, same: 20.0 MB for 1,000 fits, at most 10"]


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells what memory a process has")
def test_memory_is_measured_before_and_after_each_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = list[int]()
    monkeypatch.setattr("tests.attacks.growth.train", lambda kind, seed, number: trained.append(number))
    assert len(list(measured(KINDS[0], 1, 60.0, 250))) == 1 + 2
    assert trained == list(range(250))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_model_of_each_kind_is_trained(kind: str) -> None:
    train(kind, 1, 0)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells what memory a process has")
@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS[:2])
def test_each_kind_runs_in_a_process(kind: str) -> None:
    report = attack(60.0, 1, [kind], most=2)
    assert not report.failures, str(report)
    assert len(report.sizes[kind]) == 1
    assert report.kept[kind]["compiled texts"] > 0
