"""A short round of random networks, compiled and as they are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.attacks import networks
from tests.attacks.networks import attack, drawn, problem

CASES = 2


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("seed", [7, 8, 9, 10])
def test_random_networks_train_to_the_same_bits(seed: int) -> None:
    report = attack(float("inf"), seed, most=CASES)
    assert report.fits == CASES
    assert not report.failures, str(report)


def test_a_difference_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = networks.Case.fit

    def other(case: networks.Case, patience: float) -> Any:
        found, raised = fit(case, float("inf"))
        return ({**found, "losses": found["losses"] + np.float64(1e-12)} if patience < 0 else found), raised

    monkeypatch.setattr(networks.Case, "fit", other)
    told = problem(drawn(7, 0))
    assert told is not None
    assert "losses differs" in told
