"""Whole fits: real processes on tiny workloads, contenders that misbehave, and the tables that are made of them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.benchmark import CONTENDERS, FITS, FitWorkload, Plan, RunMeasurements, choose, run
from bpengine.benchmark.fits import entrants as entrants_file
from bpengine.benchmark.fits.entrants import SCRIPTS, Entrant, entrants
from bpengine.benchmark.fits.fit_files import FitData, Judgement, OwnFit
from bpengine.benchmark.fits.fit_process import FitTimes, run_fit
from bpengine.benchmark.fits.fit_results import FitResult
from bpengine.benchmark.fits.fit_rounds import fit_trial
from bpengine.benchmark.results import figure, fit_report, goals, record, report
from bpengine.benchmark.results.goals import FASTEST, GOALS, Goal
from bpengine.benchmark.turns import Rotation
from bpengine.cli.commands.bench import bench_command as bench
from bpengine.cli.commands.bench.own_table import own_fit, own_workload
from bpengine.errors import BackendUnavailable, ConfigError

TINY = FitWorkload("tiny", "two tiny fits", ((4, 8, 3), (4, 5, 3)), 16, rows=40, epochs=2, fits=2)
AGAIN = FitWorkload("again", "one tiny fit", ((4, 8, 3),), 16, rows=40, epochs=1, calls=3)
PEERS = ("sklearn", "jax-scan", "torch", "keras", "thinc")


@pytest.fixture(scope="module")
def measured() -> Any:
    """Give a trial of the engine, of two contenders that are the same, of one with another rate, and of one that dies."""
    names = {"numpy": "", "same": "same", "wrong": "twice", "dead": "dies"}
    plain = CONTENDERS["numpy"]
    contenders = [replace(plain, name=name, own=name == "numpy") for name in names]
    with pytest.MonkeyPatch.context() as patch:
        fakes = {name: ("tests.benchmark.fake_fit", argument) for name, argument in names.items() if argument}
        patch.setattr(entrants_file, "SCRIPTS", {**SCRIPTS, **fakes})
        return fit_trial(TINY, contenders, rotation=Rotation(rounds=2, extra=0, budget_seconds=9.0))


def results_of(trial: Any) -> dict[str, Any]:
    plan = Plan([], [], fits=[TINY])
    outcome = RunMeasurements(fits={"tiny": trial})
    return record.make(plan, outcome, {"machine": {}, "bpengine": "9"})


def test_process_that_trains_another_model_is_detected(measured: Any) -> None:
    assert set(measured.results) == {"numpy", "same", "wrong"}
    assert measured.failures == {"dead": "out of luck"}
    assert set(measured.disagreements()) == {"wrong"}
    result = measured.results["numpy"]
    assert len(result.seconds) == len(result.cpu_seconds) == 2
    assert [len(pieces) for pieces in result.fit_seconds] == [2, 2]
    for seconds, together in zip(result.seconds, result.sums(), strict=True):
        assert 0 < together < seconds


def test_the_record_the_page_and_the_figure_have_them_first(measured: Any, tmp_path: Path) -> None:
    whole = results_of(measured)
    (work,) = json.loads(json.dumps(whole, allow_nan=False))["fits"]
    assert work["yardstick"] == "same"
    assert work["results"]["same"]["times_yardstick"] == 1.0
    assert work["results"]["wrong"]["why_not"].startswith("loss ")
    assert not record.sound(whole)
    text = report.document(whole)
    assert "## Whole fits: what a user waits for" in text
    assert "### tiny: two tiny fits; 4-8-3, 4-5-3, batch 16, Adam, float32" in text
    rows = {row[0]: row[1:] for row in fit_report.fit_rows(work)}
    assert set(rows["wrong"]) == {"not valid", ""}
    assert set(rows["dead"]) == {"failed", ""}
    assert all(len(row) == len(fit_report.fit_heads(work)) for row in fit_report.fit_rows(work))
    figure.draw(whole, tmp_path / "f.svg")
    assert "whole fits" in (tmp_path / "f.svg").read_text()


@pytest.mark.thorough
@pytest.mark.parametrize("work", [TINY, AGAIN], ids=lambda work: work.name)
def test_every_peer_reaches_the_engines_loss(work: FitWorkload, pytestconfig: Any) -> None:
    lacking = {name for name in PEERS if CONTENDERS[name].missing}
    assert not lacking & set(pytestconfig.getoption("--require-peer"))
    chosen = choose(["numpy"], [name for name in PEERS if name not in lacking])
    trial = fit_trial(work, chosen, rotation=Rotation(rounds=1, extra=0, budget_seconds=0.0))
    assert trial.failures == {}
    assert trial.disagreements() == {}
    assert set(trial.results) == {c.name for c in chosen}


def test_orders_and_weights_are_those_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain descent in NumPy along the orders written, beside `Model.fit`: call by call, the last smaller batch too.

    The process keeps bytecode, as an installation has it, where this one must not.
    """
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    data = FitData(AGAIN)
    data.write(tmp_path)
    (w1, b1), (w2, b2) = data._samples[0].initial
    network = bp.Network(4, [bp.Dense(8, "relu"), bp.Dense(3)], "softmax_cross_entropy")
    model = bp.Model(network, seed=0)
    for name, array in {"0.weight": w1, "0.bias": b1, "1.weight": w2, "1.bias": b2}.items():
        np.testing.assert_array_equal(model.parameters[name], array)
    for _ in range(AGAIN.calls):
        model.fit(data.x, data.y, optimizer=bp.Adam(1e-4, eps=1e-16), batch_size=16, epochs=1)
    process = run_fit(Entrant(CONTENDERS["numpy"]), tmp_path, tmp_path, tmp_path / "caches")
    assert any((tmp_path / "bytecode").rglob("model.*.pyc"))
    assert [len(calls) for calls in process.calls] == [AGAIN.calls]
    assert data.judge(tmp_path).loss == data._samples[0].loss(
        [(model.parameters[f"{i}.weight"], model.parameters[f"{i}.bias"]) for i in range(2)]
    )
    assert np.load(tmp_path / "orders0.npy").shape == (3, 1, 40)


def test_a_page_without_training_steps_has_no_tables_of_them(measured: Any) -> None:
    page = report.document(results_of(measured))
    assert "### tiny: two tiny fits" in page
    assert "Cold start" not in page
    assert "ms per step" not in page


def test_a_peers_script_loads_nothing_of_the_engine() -> None:
    code = "import sys, bpengine.benchmark.peers.whole_fits.scikit_fit; print(*[n for n in sys.modules if 'bpengine' in n])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    package = "bpengine.benchmark.peers.whole_fits"
    parents = {"bpengine", "bpengine.benchmark", "bpengine.benchmark.peers", package}
    assert set(done.stdout.split()) - parents == {
        f"{package}.{name}" for name in ("fit_script", "scikit_fit", "scikit_outputs")
    }


def test_caches_are_filled_and_empty_where_a_contender_keeps_one() -> None:
    names = [e.name for e in entrants(choose(["numpy", "numpy+fast", "jax"], ["torch", "torch-compile"]))]
    assert names == [
        "numpy",
        *("numpy+fast", "numpy+fast, empty cache", "jax", "jax, empty cache"),
        "torch",
    ]
    assert [e.name for e in entrants(choose(["numpy"], ["torch"]), own_only=True)] == ["numpy"]


def test_time_of_repeated_calls_is_the_median_from_the_third_on() -> None:
    work, result = replace(AGAIN, calls=5), FitResult(name="a", first_seconds=0.0)
    result.add_fit(work, FitTimes(9.0, 8.0, [[5.0, 4.0, 1.0, 3.0, 2.0]]), Judgement(1.0, None))
    assert result.seconds == [2.0]
    assert result.cpu_seconds == [8.0]
    whole = FitResult(name="b", first_seconds=0.0)
    whole.add_fit(TINY, FitTimes(9.0, 8.0, [[5.0], [2.0]]), Judgement(1.0, None))
    assert (whole.seconds, whole.sums(), whole.sums(1)) == ([9.0], [7.0], [2.0])


def test_fits_without_an_available_contender_are_an_error() -> None:
    outcome = run(Plan([], choose(["numpy"], []), rounds=1, budget_seconds=0.0, fits=[TINY]))
    assert list(outcome.fits) == ["tiny"]
    assert [row["contender"] for row in outcome.fit_rows()] == ["numpy"]
    assert "1 contender on 1 workload\n" in str(outcome)
    absent = replace(CONTENDERS["numpy"], needs=("no_such_package",), cure="Install it.")
    with pytest.raises(BackendUnavailable, match="no contender can run on the CPU: numpy: no_such_package"):
        run(Plan([], [absent], fits=[TINY]))


def a_record(**seconds: list[float]) -> dict[str, Any]:
    results = {
        name.replace("_", "-"): {
            "valid": True,
            "own": name == "ours",
            "seconds": s,
            "fit_seconds": [[9.0, x] for x in s],
        }
        for name, s in seconds.items()
    }
    return {"fits": [{"name": "w", "results": results}], "workloads": []}


def test_a_goal_is_the_median_of_ratios_within_rounds() -> None:
    known = a_record(ours=[1.0, 2.0, 30.0], slow=[10.0, 10.0, 10.0], quick=[4.0, 4.0, 4.0])
    time = Goal("g", ("w",), "ours", FASTEST, at_most=0.5)
    assert (time.reached(known), time.is_met(0.5), time.is_met(0.51)) == (0.5, True, False)
    speed = Goal("g", ("w",), "ours", "slow", at_least=5.0)
    assert (speed.reached(known), speed.is_met(5.0), speed.is_met(4.9)) == (5.0, True, False)
    assert Goal("g", ("w",), "ours", "", at_most=1.0).reached(known) == 2.0
    assert Goal("g", ("w",), "ours", "quick", part="later", at_most=1.0).reached(known) == 0.5
    assert Goal("g", ("w",), "ours", "absent", at_most=1.0).reached(known) is None
    for name, last in (("ours", 3.0), ("quick", 2.0)):
        known["fits"][0]["results"][name]["fit_seconds"] = [[9.0, 8.0, last]]
    known["fits"][0]["sizes"] = [[1, 2], [1, 3]]  # of two networks the first fits of both are left out
    assert Goal("g", ("w",), "ours", "quick", part="later", at_most=1.0).reached(known) == 1.5
    known["fits"][0]["results"]["quick"]["valid"] = False
    assert time.reached(known) == 0.2


def test_the_table_of_goals_has_those_whose_workloads_were_run() -> None:
    empty: dict[str, Any] = {"fits": [], "workloads": []}
    assert goals.goal_table(empty)[1] == []
    names = {name for goal in GOALS for name in goal.works}
    all_of = {"fits": [{"name": n, "results": {}} for n in names], "workloads": []}
    heads, lines = goals.goal_table(all_of)
    assert len(lines) == len(GOALS)
    assert all(line[-2:] == ["-", "not measured"] and len(line) == len(heads) for line in lines)


def test_the_command_takes_fits_and_goals_by_name() -> None:
    plan = bench.make_plan(["numpy"], [], ["goals"], "cpu", quick=False)
    assert [work.name for work in plan.fits] == list(FITS)
    assert {name for goal in GOALS for name in goal.works} == {w.name for w in (*plan.fits, *plan.workloads)}
    only = bench.make_plan(["numpy"], [], ["fit-again"], "cpu", quick=False)
    assert ([w.name for w in only.fits], list(only.workloads)) == (["fit-again"], [])
    assert bench.make_plan(None, None, None, "gpu", quick=False).fits == []
    with pytest.raises(ConfigError, match="runs whole fits on the CPU"):
        bench.make_plan(None, None, ["fits"], "gpu", quick=False)


def test_a_file_is_fitted_whole_and_scored_on_every_fifth_row(tmp_path: Path) -> None:
    work, own = own_workload("iris", None, "8", 32, {})
    fit, rows = own_fit(work, own, 7)
    assert (fit.rows, fit.epochs, fit.sizes, fit.steps) == (120, 7, ((4, 8, 3),), 28)
    assert len(rows.held_out_x) == 30
    np.testing.assert_array_equal(rows.held_out_x, own.x[4::5])
    data = FitData(fit, OwnFit(*rows))
    data.write(tmp_path)
    right, layers = rows.held_out_y, enumerate(data._samples[0].initial)
    arrays = {f"0.{i}.{kind}": np.zeros_like(a) for i, layer in layers for kind, a in zip("wb", layer, strict=True)}
    arrays["0.1.b"][1] = 1.0  # says class 1 of every row
    np.savez(tmp_path / "weights.npz", **arrays)
    judged = data.judge(tmp_path)
    assert judged.accuracy == float(np.mean(right == 1))
    assert math.isfinite(judged.loss)


@pytest.mark.thorough
def test_roundings_of_a_users_rows_are_measured_and_another_model_is_still_detected(tmp_path: Path) -> None:
    work, own = own_workload("iris", None, "8", 16, {})
    fit, rows = own_fit(work, own, 3)
    data = FitData(fit, OwnFit(*rows))
    for variant in (0, 1):
        data.write(tmp_path, variant)
        x = np.load(tmp_path / "x.npy")
        assert x.dtype == np.float32
        assert np.array_equal(x, np.nextafter(data.x, x))
        assert bool((x != data.x).all()) == bool(variant)
    plain = CONTENDERS["numpy"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entrants_file, "SCRIPTS", {**SCRIPTS, "wrong": ("tests.benchmark.fake_fit", "twice")})
        contenders = [plain, replace(plain, name="wrong", own=False)]
        rotation = Rotation(rounds=1, extra=0, budget_seconds=0.0)
        trial = fit_trial(fit, contenders, rotation=rotation, own=OwnFit(*rows))
    assert 0.0 < trial.rounding < 1e-3
    assert set(trial.disagreements()) == {"numpy", "wrong"}
    far = trial.results["numpy"].loss / trial.results["wrong"].loss
    assert replace(trial, rounding=max(far, 1 / far)).disagreements() == {}


def test_a_workload_of_whole_fits_is_checked() -> None:
    with pytest.raises(ConfigError, match="source one of digits, drawn, own"):
        replace(TINY, source="elsewhere")
    with pytest.raises(ConfigError, match="same inputs and outputs"):
        replace(TINY, sizes=((4, 3), (5, 3)))


def test_a_gpu_is_held_to_goals_of_its_own_in_each_precision() -> None:
    seconds = {"cupy-tf32": [1.0, 2.0, 3.0], "torch-graph-tf32": [2.0, 3.0, 3.0], "numpy+fast": [1.0, 1.0, 1.0]}
    results = a_record(**seconds)["fits"][0]["results"]
    record_of_gpu = {
        "device": "gpu",
        "contenders": {name: {} for name in seconds},
        "fits": [],
        "workloads": [{"name": name, "results": {n: {**r, "seconds": seconds[n]} for n, r in results.items()}}
                      for name in ("small", "huge")],
    }  # fmt: skip
    _, lines = goals.goal_table(record_of_gpu)
    assert lines == [
        ["steps, small", "cupy-tf32", "torch-graph-tf32", "speed >= 1", "1.5", "yes"],
        ["steps, huge", "cupy-tf32", "torch-graph-tf32", "speed >= 0.97", "1.5", "yes"],
    ]
    on_cpu = {line[1] for line in goals.goal_table({**record_of_gpu, "device": "cpu"})[1]}
    assert "numpy+fast" in on_cpu
    assert not any(name.startswith("cupy") for name in on_cpu)
