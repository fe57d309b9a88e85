"""The sweep that a person runs: what it draws, what it counts as an alarm, what it prints, and its exit code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import typer

import bpengine as bp
from tests import sweep
from tests.check.mutants import Mutant, backend
from tests.check.random_networks import SPECIAL, Sample
from tests.tolerances import oracle_rtol

RELU = Mutant("relu", 0, "a factor 2")


def test_seed_draws_the_same_networks() -> None:
    drawn, again, others = sweep.draw(30, 0), sweep.draw(30, 0), sweep.draw(30, 1)
    assert len({repr(sample.network) for sample in drawn}) == 30
    assert repr(drawn) == repr(again) != repr(others)


def test_correct_network_raises_no_alarm(jax: Any) -> None:
    finding = sweep.network(sweep.draw(2, 0)[1], "jax", "float64")
    assert finding.wrong is None
    assert finding.counts["numbers compared"] > 0
    assert finding.error <= oracle_rtol()


def test_samples_with_special_values_are_of_every_kind() -> None:
    drawn = sweep.with_special_values(sweep.draw(2 * len(SPECIAL), 0))
    assert [sample.special for sample in drawn] == 2 * list(SPECIAL)
    for sample in drawn:
        model, (x, y, _) = sample.model(), sample.data()
        parameters = {name.rpartition(".")[2]: array for name, array in model.parameters.items()}
        kinds = {
            "zero biases and unit gains": not np.any(parameters.get("bias", 0))
            and np.all(parameters.get("gamma", 1) == 1),
            "all zero": not any(np.any(array) for array in model.parameters.values()),
            "all one": all(np.all(array == 1) for array in model.parameters.values()),
            "zero inputs": not np.any(x),
            "equal rows": np.all(x == x[:1]),
            "a perfect fit": sample.network.loss.target != "values" or len(y) == sample.rows,
        }
        assert kinds[str(sample.special)], sample


def test_sample_of_a_perfect_fit_has_loss_0(jax: Any) -> None:
    network = bp.Network(3, [bp.Dense(4, "relu"), bp.Dense(2)], "mean_absolute_error")
    sample = Sample(network, 5, seed=1, special="a perfect fit")
    x, y, _ = sample.data()
    assert sample.model().loss_and_gradients(x, y)[0] == 0.0
    assert sweep.network(sample, "numpy", "float64").wrong is None


def test_failed_check_and_exception_are_alarms() -> None:
    samples = sweep.draw(160, 0)
    sample = next(s for s in samples if "relu" in {layer.activation.name for layer in s.network.layers[-1:]})
    finding = sweep.network(sample, backend(RELU), "float64")
    assert "relu_bwd" in str(finding.wrong)
    assert str(sample) in str(finding.wrong)
    assert "ConfigError: unknown dtype 'float16'" in str(sweep.network(sample, "numpy", "float16").wrong)


def test_undetected_mutant_is_reported() -> None:
    caught, away = (sweep.mutant(RELU, "alone", check) for check in (sweep.check_alone, lambda _: Report()))
    assert caught.wrong is None
    assert away.wrong == "relu-dx-a factor 2 alone: the check passed"


class Report:
    """A check that sees nothing."""

    passed, guilty = True, None


def test_mistakes_are_reported_before_the_sweep_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped:
        sweep.main(backend="jaxx")
    assert stopped.value.exit_code == 2
    assert "unknown backend 'jaxx'. Did you mean 'jax'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "code", "summary"), [(None, 0, "false alarms: 0"), ("an alarm", 1, "false alarms: 1")]
)
def test_the_summary_and_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str | None, code: int, summary: str
) -> None:
    findings = [sweep.Finding("network", wrong, {"numbers compared": 1000}, 1e-13), sweep.Finding("mutant", None, {})]
    monkeypatch.setattr(sweep, "run", lambda tasks, jobs: findings)
    with pytest.raises(typer.Exit) as stopped:
        sweep.main(networks=1, broken=True, jobs=1)
    printed = capsys.readouterr().out
    assert stopped.value.exit_code == code
    assert summary in printed
    assert "numbers compared: 1,000" in printed
    assert "mutants caught and named: 1 of 1" in printed
