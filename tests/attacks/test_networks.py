"""A short round of random networks, compiled and as they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.attacks import networks
from tests.attacks.networks import attack, drawn, problem

CASES = 1


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("seed", [7, 8, 9, 10])
def test_random_networks_train_to_the_same_bits(seed: int) -> None:
    report = attack(float("inf"), seed, most=CASES)
    assert report.fits == CASES
    assert not report.failures, str(report)


def test_recorded_failures_stay_fixed() -> None:
    assert [difference for case in networks.kept() if (difference := problem(case))] == []


def test_failing_case_is_shrunk_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(networks, "problem", lambda case: "wrong" if case.settings["epochs"] < 9 else None)
    monkeypatch.setattr(networks, "KEPT", tmp_path / "kept")
    small = networks.smaller(drawn(7, 3))
    assert list(small.settings) == ["epochs"]
    assert len(small.sample.network.layers) == 1
    for _ in range(2):
        networks.keep([small])
    (again,) = networks.kept()
    assert again.to_json() == small.to_json()


def test_attack_reports_different_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = networks.Case.fit

    def other(case: networks.Case, patience: float) -> Any:
        numbers, raised = fit(case, float("inf"))
        return ({**numbers, "losses": numbers["losses"] + np.float64(1e-12)} if patience < 0 else numbers), raised

    monkeypatch.setattr(networks.Case, "fit", other)
    difference = problem(drawn(7, 0))
    assert difference is not None
    assert "losses differs" in difference
