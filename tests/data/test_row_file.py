"""Rows read from the file behind a memory map: the right rows of the right file."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpengine.data import RowFile, runs_of
from bpengine.data.mmap import row_file
from bpengine.errors import DataError

X = np.random.default_rng(0).normal(size=(3000, 7)).astype(np.float32)
ROWS = np.array([0, 1, 2, 9, 700, 701, 2998, 2999], np.int32)
FILES = pytest.mark.skipif(sys.platform != "linux", reason="no other system tells which file is mapped where")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def read(file: RowFile | None, rows: Any, shape: tuple[int, ...]) -> Any:
    assert file is not None
    target = np.zeros((len(rows), *shape), np.float32)
    file.read(runs_of(rows), target)
    return target


@FILES
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_rows_are_those_of_the_array(path: Path, mode: Any) -> None:
    x = np.load(path, mmap_mode=mode)
    np.testing.assert_array_equal(read(RowFile.behind(x), ROWS, (7,)), X[ROWS])
    np.testing.assert_array_equal(read(RowFile.behind(x[10:2000]), ROWS[:6], (7,)), X[10:2000][ROWS[:6]])
    np.testing.assert_array_equal(read(RowFile.behind(np.asarray(x)[5:]), ROWS[:6], (7,)), X[5:][ROWS[:6]])
    np.testing.assert_array_equal(
        read(RowFile.behind(x.reshape(1500, 2, 7)), np.array([3, 4]), (2, 7)), X.reshape(1500, 2, 7)[3:5]
    )


@FILES
def test_what_was_written_to_the_map_is_read(path: Path) -> None:
    x = np.load(path, mmap_mode="r+")
    x[700] = 5.0
    assert (read(RowFile.behind(x), ROWS, (7,))[4] == 5.0).all()


def test_not_every_array_has_a_file_to_read_row_by_row(path: Path) -> None:
    x = np.load(path, mmap_mode="r")
    for array in (X, np.load(path, mmap_mode="c"), x[:, :3], x[::2], x[::-1], x.T, x[:0], x.sum()):
        assert RowFile.behind(array) is None


@FILES
def test_another_file_of_the_same_name_is_not_taken_for_it(path: Path) -> None:
    x = np.load(path, mmap_mode="r")
    np.save(path.with_name("other.npy"), X + 1)
    os.replace(path.with_name("other.npy"), path)
    assert RowFile.behind(x) is None
    path.unlink()
    assert RowFile.behind(x) is None
    np.testing.assert_array_equal(x, X)


def test_mapped_rows_work_without_proc_maps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_file, "MAPS", path.with_name("nothing"))
    assert RowFile.behind(np.load(path, mmap_mode="r")) is None


@FILES
def test_a_file_that_was_cut_is_an_error(path: Path) -> None:
    x = np.load(path, mmap_mode="r")
    file = RowFile.behind(x)
    os.truncate(path, 128 + 701 * 28)
    with pytest.raises(DataError, match=r"ends at byte 19756, before rows that it had when it was opened"):
        read(file, ROWS, (7,))


@FILES
def test_only_the_bytes_of_announced_rows_are_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, *advice: asked.append(advice))
    monkeypatch.setattr(row_file, "NEAR_BYTES", 6 * 28)
    file = RowFile.behind(np.load(path, mmap_mode="r"))
    assert file is not None
    file.prefetch_rows(runs_of(ROWS))
    wanted = ((0, 10), (700, 702), (2998, 3000))
    assert asked == [(128 + a * 28, (b - a) * 28, os.POSIX_FADV_WILLNEED) for a, b in wanted]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux lists the files that a process has open")
def test_an_interruption_leaves_no_file_open(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.ones((10, 3)))
    array = np.load(tmp_path / "x.npy", mmap_mode="r")

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(row_file, "_mapped_as", interrupt)
    gc.collect()  # files of other tests that nobody has closed yet
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        RowFile.behind(array)
    gc.collect()
    assert os.listdir("/proc/self/fd") == before
