"""Batching: the order of rows, and the steps of a fit as a pure function of where they begin and end."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import as_host
from bpengine.streams import stream
from bpengine.training import batching
from bpengine.training.memory.row_reader import RowReader


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WINDOW", 32)
    monkeypatch.setattr(batching, "BLOCK", 4)


def test_orders_up_to_a_window_are_uniform() -> None:
    order = batching.epoch_order(3, 1, 1000, shuffle=True)
    np.testing.assert_array_equal(order, stream("epoch order", 3, 1).permutation(1000))
    assert order.dtype == np.int32


@pytest.mark.parametrize("rows", [33, 100, 128, 1021])
def test_larger_sets_shuffle_blocks_within_a_window(rows: int, small_windows: None) -> None:
    order = batching.epoch_order(3, 1, rows, shuffle=True)
    np.testing.assert_array_equal(np.sort(order), np.arange(rows))
    np.testing.assert_array_equal(order, batching.epoch_order(3, 1, rows, shuffle=True))
    assert not np.array_equal(order, batching.epoch_order(3, 2, rows, shuffle=True))
    for start in range(0, rows, 32):
        window = order[start : start + 32]
        assert len(np.unique(window // 4)) <= 10  # eight blocks, and one that is cut at either end
    assert not np.array_equal(np.sort(order[:32]), np.arange(32))  # the blocks come from anywhere ...
    assert (np.diff(order) != 1).mean() > 0.8  # ... and do not stay together


def source(x: Any, batch: int, backend: str = "numpy", **settings: Any) -> batching.Source:
    numbers = np.arange(len(x), dtype=np.int32)
    settings = {"seed": 4, "shuffle": True, **settings}
    return batching.make_source(bp.get_backend(backend), (x, numbers), ("float32", "int32"), batch, **settings)


def rows_of(batches: batching.Source, start: int, stop: int) -> list[list[int]]:
    """Return the numbers of the rows that each step sees; x must hold the same numbers."""
    seen = []
    for segment in batches.segments(start, stop):
        x, numbers = map(as_host, segment.data)
        orders = [slice(None)] * segment.steps if segment.order is None else segment.order
        for order in orders:
            np.testing.assert_array_equal(x[order][:, 0], numbers[order])
            seen.append(numbers[order].tolist())
    return seen


@pytest.fixture(params=["memory", "disk"])
def numbered(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    x = np.repeat(np.arange(150, dtype=np.float32)[:, np.newaxis], 3, axis=1)
    np.save(tmp_path / "x.npy", x)
    return x if request.param == "memory" else np.load(tmp_path / "x.npy", mmap_mode="r")


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch", [7, 50, 149, 150])
def test_order_of_a_run_of_steps_is_a_slice_of_the_epochs(
    batch: int, shuffle: bool, numbered: Any, backend_name: str, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "STREAM_BYTES", 16 * 20)  # half a window
    batches = source(numbered, batch, backend_name, shuffle=shuffle)
    assert (batches.resident is None) == (isinstance(numbered, np.memmap) and batch < 150)
    count = batches.epoch_steps
    whole = rows_of(batches, 0, 3 * count)
    for epoch in range(3):
        order = batching.epoch_order(4, epoch, 150, shuffle=shuffle)
        expected = [part.tolist() for cut in batching.batches(order, batch) for part in cut]
        assert batch == 150 or whole[epoch * count : (epoch + 1) * count] == expected
    for start, stop in ((0, 1), (1, 2), (count - 1, count + 1), (2, 3 * count - 1)):
        assert rows_of(batches, start, stop) == whole[start:stop]


def test_only_requested_rows_are_read(numbered: Any, small_windows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    class Noted(RowReader):
        def read(self, rows: Any, runs: Any = None) -> Any:
            assert threading.current_thread() is not threading.main_thread()
            read.append(len(rows))
            return super().read(rows, runs)

    monkeypatch.setattr(batching, "RowReader", Noted)
    monkeypatch.setattr(batching, "STREAM_BYTES", 32 * 16)  # a window
    batches = source(np.asarray(numbered).view(np.memmap), 8)
    rows_of(batches, 5, 9)
    assert read == [24, 24, 8, 8]  # x and its numbers: three steps of the second window, one of the third


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("shape", [(1, 1), (8, 64), (50, 40), (300, 7)])
def test_a_piece_is_read_in_ascending_order(shape: tuple[int, int], kind: Any, rng: np.random.Generator) -> None:
    blocks = rng.permutation(40)[:9, None] * batching.BLOCK + np.arange(batching.BLOCK)
    order = rng.permutation(blocks.ravel())[: shape[0] * shape[1]].reshape(shape).astype(kind)
    piece = batching._ascending(order)
    np.testing.assert_array_equal(piece.rows, np.sort(order, axis=None))
    np.testing.assert_array_equal(piece.rows[piece.order], order)
    np.testing.assert_array_equal(np.concatenate([np.arange(*run) for run in piece.runs]), piece.rows)
    assert (piece.runs[1:, 0] > piece.runs[:-1, 1]).all()


@pytest.fixture(params=["memory", "file", "map"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give an array in memory, on disk and read from its file, and on disk and read through the map."""
    monkeypatch.setattr("bpengine.training.memory.row_reader.STRETCH_BYTES", 1000)
    if request.param == "map":
        monkeypatch.setattr("bpengine.data.mmap.row_file.MAPS", tmp_path / "nothing")
    np.save(tmp_path / "x.npy", NUMBERS)
    return NUMBERS if request.param == "memory" else np.load(tmp_path / "x.npy", mmap_mode="r")


NUMBERS = np.random.default_rng(0).normal(size=(500, 3))
ROWS = np.array([0, 3, 4, 250, 251, 252, 499], np.int32)


def test_rows_are_copied_in_their_order(stored: Any) -> None:
    picked = RowReader(stored).read(ROWS)
    np.testing.assert_array_equal(picked, NUMBERS[ROWS], strict=True)
    assert picked.ctypes.data % 64 == 0
    assert not isinstance(picked, np.memmap)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_returned_array_is_valid_until_the_second_read(stored: Any, dtype: str) -> None:
    reader = RowReader(stored, dtype)
    pieces = [ROWS[:3], ROWS, ROWS[2:4], ROWS[4:]]
    before: list[Any] = []
    for rows in pieces:
        reader.prefetch_rows(rows)
        read = reader.read(rows)
        np.testing.assert_array_equal(read, NUMBERS[rows].astype(dtype), strict=True)
        for earlier, its_rows in before[-1:]:
            np.testing.assert_array_equal(earlier, NUMBERS[its_rows].astype(dtype))
        before.append((read, rows))
    assert np.shares_memory(before[1][0], before[3][0])
