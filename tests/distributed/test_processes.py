"""Several processes give the bits of one, eager and compiled; what they do not share is told."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bpengine.extras import install_command
from tests.distributed.cases import CASES, HOWS
from tests.distributed.conftest import Run


@pytest.fixture(scope="session")
def one(python: Run, folder: Path) -> dict[str, str]:
    """Return the results of one process, by case and form."""
    return parsed(python("tests.distributed.cases", str(folder)).out)


def parsed(text: str) -> dict[str, str]:
    return dict(line.rsplit(": ", 1) for line in text.splitlines())


def test_each_case_has_the_same_bits_eager_and_compiled(one: dict[str, str]) -> None:
    assert len(one) == len(CASES) * len(HOWS)
    for name in CASES:
        assert len({one[f"{name}, {how}"] for how in HOWS}) == 1, name
    assert one["memory-mapped, eager"] == one["uneven last batch, eager"]  # the same rows, from a file


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("count", [2, 4, 3])
def test_several_processes_give_the_bits_of_one(count: int, one: dict[str, str], processes: Run, folder: Path) -> None:
    ended = processes(count, "tests.distributed.cases", str(folder))
    assert (ended.code, ended.err) == (0, "")
    assert parsed(ended.out) == one


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(("count", "halves"), [(4, 2), (2, 2), (3, 0), (8, 2)])
def test_every_exchange_adds_up_in_the_order_of_the_tree(count: int, halves: int, processes: Run) -> None:
    ended = processes(count, "tests.distributed.exchanges")
    assert (ended.code, ended.err) == (0, "")
    results = parsed(ended.out)
    assert set(results.values()) == {"True"}
    names = [line.partition(",")[0] for line in results]
    assert {name: names.count(name) for name in set(names)} == {
        "Everything": 15, "Slices": 15, **({"Halves": 5 * halves} if halves else {})
    }  # fmt: skip


TRAIN = ["bpengine", "launch", "-n", "2", "train", "xor", "--test-fraction", "0", "--epochs", "3"]


def test_the_command_line_repeats_the_bits_of_one_process(python: Run, processes: Run, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("two", "one")]
    two = python(*TRAIN, "--out", str(files[0]))
    assert (two.code, two.err) == (0, "")
    assert "2 processes, 16 shards" in two.out
    alone = python("bpengine", *TRAIN[4:], "--out", str(files[1]), "--shards", "16")
    assert "1 process, 16 shards" in alone.out
    assert files[0].read_bytes() == files[1].read_bytes()


def test_logs_are_written_by_process_0_alone(python: Run, tmp_path: Path) -> None:
    logs = ["--log", str(tmp_path / "log"), "--tensorboard", str(tmp_path / "runs"), "--log-layers"]
    two = python(*TRAIN, *logs)
    assert (two.code, two.err) == (0, "")
    with (tmp_path / "log" / "epochs.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    lines = (tmp_path / "log" / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    assert len(list((tmp_path / "runs").iterdir())) == 1


@cache
def mistakes() -> dict[str, list[str]]:
    return {
        "fewer shards": ["--shards", "1"],
        "no such file": ["--target", "nowhere.npy"],
        "an option": ["--epochs", "many"],
    }


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("name", mistakes())
def test_a_mistake_is_one_line(name: str, processes: Run) -> None:
    ended = processes(3, "bpengine", "train", "xor", "--test-fraction", "0", *mistakes()[name])
    assert ended.code == 2
    assert ended.err.count("bpengine: error:") == len(ended.err.splitlines()) == 1, ended.err


def test_without_mpi4py_one_line_says_what_to_do(processes: Run, tmp_path: Path) -> None:
    (tmp_path / "mpi4py.py").write_text("raise ImportError('hidden')")
    ended = processes(2, "tests.distributed.hiding", str(tmp_path))
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "2 processes that train together require mpi4py, got: hidden." in ended.err
    assert install_command("mpi") in ended.err


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Write a table of numbers with gaps, text and a target, in row groups."""
    rng = np.random.default_rng(5)
    size = rng.normal(size=700)
    columns = {"size": np.where(size > 1.5, np.nan, size), "city": rng.choice(["Oslo", "Rome", "Lima"], 700)}
    frame = pd.DataFrame({**columns, "kind": np.where(size > 0, "tall", "short")})
    frame.to_parquet(tmp_path / "large.parquet", row_group_size=100)
    return tmp_path / "large.parquet"


def noted(folder: Path) -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("[0-9].json"))]


def test_a_large_table_is_converted_once_and_each_process_encodes_its_rows(
    python: Run, processes: Run, large: Path, tmp_path: Path
) -> None:
    options = [str(tmp_path), str(large), "--epochs", "2", "--test", "0", "--out"]
    ended = processes(2, "tests.distributed.tables", *options, str(tmp_path / "two"))
    assert ended.code == 0, ended.err
    two = noted(tmp_path)
    assert sorted(process["converted"] for process in two) == [0, 1]
    assert [process["encoded"] for process in two] == [[[0, 350]], [[350, 700]]]
    assert python("tests.distributed.tables", *options, str(tmp_path / "one"), "--shards", "16").code == 0
    assert noted(tmp_path)[0] == {"converted": 0, "encoded": [[0, 700]]}
    assert (tmp_path / "two").read_bytes() == (tmp_path / "one").read_bytes()
    assert not list(tmp_path.glob("**/*.rows"))


def test_a_cell_that_one_process_cannot_encode_is_one_line(processes: Run, large: Path, tmp_path: Path) -> None:
    gap = pd.read_parquet(large).fillna({"size": 0.0})
    gap.to_parquet(tmp_path / "train.parquet")
    gap.loc[600, "size"] = np.nan
    gap.to_parquet(tmp_path / "test.parquet")
    files = [str(tmp_path / "train.parquet"), "--test", str(tmp_path / "test.parquet")]
    ended = processes(2, "tests.distributed.tables", str(tmp_path), *files, "--missing", "refuse", "--epochs", "1")
    assert ended.code == 2
    assert ended.err.count("bpengine: error:") == 1, ended.err
    assert "row 600, column 'size'" in ended.err
