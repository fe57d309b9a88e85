"""`bpengine bench FILE`: a table of classes as a workload, and contenders that cannot run on the device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.benchmark import Workload
from bpengine.benchmark.inputs import OwnRows, make_sample
from bpengine.benchmark.peers.engine import PlainNumpy
from bpengine.cli import main
from bpengine.cli.commands.bench import own_table
from bpengine.cli.commands.bench.own_table import elsewhere, own_fit, own_workload
from tests.tolerances import agreement_rtol


def test_a_data_set_becomes_a_workload_of_its_classes() -> None:
    work, own = own_workload("iris", None, "16,8", 40, {})
    assert work.sizes == (4, 16, 8, 3)
    assert (work.batch, work.epoch_steps, work.rows) == (40, 3, 120)
    assert own.x.shape == (150, 4)
    assert np.allclose(own.x.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(own.x.std(axis=0), 1, atol=1e-5)
    sample = make_sample(work, own)
    assert np.array_equal(sample.x, own.x[:120])
    assert np.array_equal(sample.y, own.y[:120])


def test_a_small_table_is_one_batch(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("a,b,kind\n1,5,x\n2,5,y\n3,5,x\n4,5,y\n")
    work, own = own_workload(str(tmp_path / "few.csv"), None, "", 128, {})
    assert (work.sizes, work.batch, work.epoch_steps) == ((2, 2), 4, 1)
    assert np.all(np.isfinite(own.x))


def test_values_are_refused() -> None:
    with pytest.raises(bp.ConfigError, match="requires targets that are classes, got values in 'diabetes'"):
        own_workload("diabetes", None, "8", 32, {})


def test_contenders_of_another_device_are_left_out_with_the_reason() -> None:
    names, absent = elsewhere(["numpy", "cupy"], "cpu")
    assert names == ["numpy"]
    assert absent == {"cupy": "it runs on the GPU alone (--device gpu)"}
    assert elsewhere(None, "cpu") == (None, {})
    assert elsewhere(["nunpy"], "cpu") == (["nunpy"], {})  # `choose` names the nearest


def test_a_file_and_workloads_exclude_each_other(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "iris", "--workloads", "small"]) == 2
    assert "bench takes a file or --workloads, got both" in capfd.readouterr().err


@pytest.mark.thorough
def test_the_command_runs_on_a_data_set(capfd: Any) -> None:
    line = "bench iris --quick --layers 8 --batch-size 32 --backends numpy,cupy --peers sklearn --rounds 3 --no-files --json"
    assert main(line.split()) == 0
    record = json.loads(capfd.readouterr().out)
    (work,) = record["workloads"]
    assert work["sizes"] == [4, 8, 3]
    assert all(result["valid"] for result in work["results"].values())
    assert set(work["results"]) == {"numpy", "sklearn"}
    assert record["missing"]["cupy"].startswith("it runs on the GPU alone")


@pytest.mark.thorough
def test_every_contender_trains_a_table_of_two_classes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i % 7},{i % 5},{'yes' if i % 7 > i % 5 else 'no'}" for i in range(60)]
    (tmp_path / "two.csv").write_text("\n".join(["a,b,kind", *rows]))
    line = "--quick --layers 4 --batch-size 16 --epochs 2 --backends numpy --peers sklearn --rounds 1 --no-files --json"
    assert main(["bench", str(tmp_path / "two.csv"), *line.split()]) == 0
    record = json.loads(capfd.readouterr().out)
    for work in record["fits"] + record["workloads"]:
        assert {name: result["valid"] for name, result in work["results"].items()} == {"numpy": True, "sklearn": True}


def test_scikit_learn_trains_two_outputs_for_two_classes() -> None:
    from bpengine.benchmark.peers.scikit import ScikitLearn

    work = Workload("two", (3, 4, 2), 4, epoch_steps=8, learning_rate=0.01)
    sample = make_sample(work)
    peers = ScikitLearn(sample, "", "cpu"), PlainNumpy(sample, "numpy", "cpu")
    for peer in peers:
        peer.reset()
        peer.train(16)
    for theirs, ours in zip(peers[0].weights(), peers[1].weights(), strict=True):
        for one, other in zip(theirs, ours, strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, atol=agreement_rtol("float32", 1024))


def test_a_run_in_which_nothing_was_begun_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = f"bench --workloads small --seconds 0 --backends numpy --peers , --out {tmp_path}"
    assert main(line.split()) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert "bench requires at least one workload to be measured, but ran none: small: not begun within 0 s." in error
    assert list(tmp_path.iterdir()) == []
    assert main(["bench", "--workloads", "nix"]) == 2
    names = capfd.readouterr().err.split("Known: ")[1].rstrip(".\n").split(", ")
    assert len(names) == len(set(names))


def rows_of(count: int, batch: int = 128, sizes: tuple[int, ...] = (4, 8, 3)) -> tuple[Workload, OwnRows]:
    """Return a workload, and so many rows in which the class is the number of the third."""
    x = np.repeat(np.arange(count, dtype=np.float32)[:, None], sizes[0], axis=1)
    return Workload("own", sizes, batch, epoch_steps=2), OwnRows(x, np.arange(count) * 3 // count, count)


def test_a_whole_fit_has_no_more_steps_than_seconds_allow() -> None:
    work, own = rows_of(100_000)
    fit, rows = own_fit(work, own, 10)
    assert (fit.rows, fit.steps) == (80_000, 6250)
    assert fit.title == "a process that fits 80,000 rows of your own for 10 epochs"
    fit, rows = own_fit(work, own, 40)
    assert own_table.FIT_STEPS / 2 < fit.steps <= own_table.FIT_STEPS + 40
    assert fit.title == f"a process that fits {fit.rows:,} rows, drawn from your 100,000, for 40 epochs"
    assert set(rows.y) == {0, 1, 2}, "of a table in the order of its classes all classes are drawn"
    assert not set(rows.x[:, 0]) & set(rows.held_out_x[:, 0])


def test_wide_layers_make_a_fit_and_a_turn_shorter() -> None:
    work, own = rows_of(20_000, sizes=(16, 4096, 4096, 3))
    fit, _ = own_fit(work, own, 10)
    assert 128 <= fit.rows < 1000
    many, _ = own_workload("digits", None, "4096,4096", 512, {})
    few, _ = own_workload("digits", None, "8", 512, {})
    assert (many.epoch_steps, few.epoch_steps) == (2, 3)


def test_of_a_large_table_rows_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_table, "MOST_ROWS", 40)
    work, own = own_workload("iris", None, "8", 20, {})
    assert (len(own.x), own.table_rows) == (50, 150)
    assert set(own.y) == {0, 1, 2}
    fit, rows = own_fit(work, own, 2)
    assert fit.title == "a process that fits 40 rows, drawn from your 150, for 2 epochs"
    assert len(rows.held_out_x) == 10
