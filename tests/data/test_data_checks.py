"""The checks before training: what passes is untouched, what fails is named."""

import mmap

import numpy as np
import pandas as pd
import pytest

from bpengine.data import (
    check_binary_targets,
    check_class_labels,
    check_features,
    check_same_length,
    check_targets,
    check_weights,
    drop_pages,
    prefetch_rows,
)
from bpengine.data.mmap import row_file
from bpengine.errors import BpError, DataError, ShapeError

NAN, INF = float("nan"), float("inf")


def message_of(check, *arguments, kind=DataError, **options):
    with pytest.raises(BpError) as caught:
        check(*arguments, **options)
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.fixture
def mapped(tmp_path):
    """Return a function that stores an array and maps it from its file."""

    def store(array, mode="r"):
        np.save(tmp_path / "a.npy", array)
        return np.load(tmp_path / "a.npy", mmap_mode=mode)

    return store


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64"])
def test_arrays_pass_untouched(dtype):
    x = np.ones((3, 2), dtype)
    x.flags.writeable = False
    assert check_features(x, 2) is x


def test_mapped_arrays_pass_untouched(mapped):
    x = mapped(np.ones((3, 2)))
    assert check_features(x, 2) is x
    assert isinstance(check_targets(mapped(np.ones(3)), 1), np.memmap)
    y = mapped(np.array([0, 1, 2]))
    assert check_class_labels(y, 3) is y


class Producer:
    """An array known only by DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_lists_tables_and_dlpack_are_accepted():
    expected = [[1.0, 2.0], [3.0, 4.0]]
    for x in (expected, pd.DataFrame(expected), Producer(np.array(expected))):
        np.testing.assert_array_equal(check_features(x, 2), expected)


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (
            np.ones(3),
            ShapeError,
            "x requires shape (rows, 2), got (3,). A single sample is x[None, :]; a single feature",
        ),
        (
            np.ones((3, 4)),
            ShapeError,
            "x requires shape (rows, 2), got (3, 4). The network has 2 inputs; the data have 4",
        ),
        (np.ones((2, 3)), ShapeError, "got (2, 3). It looks transposed"),
        (np.ones((3, 4, 4)), ShapeError, "got (3, 4, 4). Flatten every sample with x.reshape(len(x), -1)."),
        (np.float64(3), ShapeError, "got ()"),
        (np.ones((0, 2)), DataError, "x requires at least one row, got shape (0, 2)"),
        ([[1.0, 2.0], [3.0]], DataError, "Rows must have equal lengths"),
        ([[1.0, "red"], [2.0, "blue"]], DataError, "got the text 'red' in row 0, column 1. Encode text as numbers"),
        (
            np.array([["1", "2"], ["3", "4"]]),
            DataError,
            "the text '1' in row 0, column 0. Convert the array with astype",
        ),
        (pd.DataFrame({"a": [1, 2], "b": ["3", "x"]}), DataError, "the text '3' in row 0, column 1. Convert"),
        (np.array([[1, 2], [None, 3]], object), DataError, "got None in row 1, column 0. Fill or drop"),
        (np.array([[1, 2]], object), DataError, "array of Python objects (dtype object). Convert"),
        (np.ones((2, 2), complex), DataError, "x requires real numbers, got dtype complex128"),
        (np.ma.masked_invalid([[1.0, NAN]]), DataError, "a masked one in row 0, column 1"),
        ([[1.0, 2.0], [3.0, NAN]], DataError, "got nan in row 1, column 1 (1 such values in all)"),
        ([[1.0, -INF], [NAN, INF]], DataError, "got -inf in row 0, column 1 (3 such values in all)"),
    ],
)
def test_invalid_features_are_refused(x, kind, message):
    assert message in message_of(check_features, x, 2, kind=kind)


def test_features_name_their_argument():
    assert message_of(check_features, np.ones(3), 2, what="validation x", kind=ShapeError).startswith("validation x ")


def test_places_are_right_across_blocks(monkeypatch, mapped):
    monkeypatch.setattr("bpengine.data.mmap.row_file.BLOCK_BYTES", 64)  # four rows of two float64
    x = np.ones((50, 2))
    x[41, 1] = x[47, 0] = NAN
    assert "nan in row 41, column 1 (2 such" in message_of(check_features, mapped(x), 2)
    labels = np.zeros(50, int)
    labels[37] = 9
    assert "got 9 in row 37" in message_of(check_class_labels, mapped(labels), 3)
    one_hot = np.eye(3)[labels % 3]
    one_hot[33] = 0
    assert "in row 33" in message_of(check_class_labels, mapped(one_hot), 3)


def test_release_keeps_written_and_private_values(mapped):
    for mode in ("r+", "c"):
        x = mapped(np.zeros((5000, 4)), mode)
        x[:] = 7.0
        drop_pages(np.asarray(x)[10:])
        np.testing.assert_array_equal(x, np.full((5000, 4), 7.0))
    drop_pages(np.zeros(3))


class Advised(mmap.mmap):
    """A memory map that records the advice it gets."""

    def madvise(self, *advice):
        self.advice = [*getattr(self, "advice", []), advice]


def test_only_the_pages_of_announced_rows_are_asked_for(tmp_path, monkeypatch):
    """Rows of 16 KiB behind a header of 128 bytes: those at most 64 KiB apart are asked for together."""
    np.save(tmp_path / "x.npy", np.zeros((100, 4096), np.float32))
    with open(tmp_path / "x.npy", "rb") as file:
        opened = Advised(file.fileno(), 0, access=mmap.ACCESS_READ)
    x = np.frombuffer(opened, np.float32, offset=128).reshape(100, 4096)
    monkeypatch.setattr(row_file, "_pages", lambda array: opened)
    prefetch_rows(x[10:], np.array([0, 4, 9, 20, 21, 89], np.int32))
    prefetch_rows(x, np.array([], np.int32))
    prefetch_rows(x[::-1], np.array([1], np.int32))
    row, want = 16384, ((10, 15), (19, 20), (30, 32), (99, 100))
    assert opened.advice == [(mmap.MADV_WILLNEED, first * row, (last - first) * row + 128) for first, last in want]


def test_announced_rows_change_nothing(mapped):
    for mode in ("r", "c"):
        x = mapped(np.arange(20_000.0).reshape(5000, 4), mode)
        prefetch_rows(x[7:], np.array([0, 1, 4000, 4992], np.int32))
        np.testing.assert_array_equal(x, np.arange(20_000.0).reshape(5000, 4))
    prefetch_rows(np.zeros(3), np.array([1]))


def test_arrays_of_different_lengths_are_refused():
    check_same_length(np.ones((3, 2)), [1, 2, 3])
    message = message_of(check_same_length, np.ones((3, 2)), np.ones((4, 1)), kind=ShapeError)
    assert "same number of rows, got x (3, 2) and y (4, 1)" in message


@pytest.mark.parametrize(
    "y",
    [[2, 0, 1], [2.0, 0.0, 1.0], [[2], [0], [1]], np.array([2, 0, 1], np.uint8), [[0, 0, 1], [1, 0, 0], [0, 1, 0.0]]],
    ids=["list", "floats", "column", "bytes", "one-hot"],
)
def test_valid_labels_are_accepted(y):
    labels = check_class_labels(y, 3)
    np.testing.assert_array_equal(labels, [2, 0, 1])
    assert labels.dtype.kind in "iu"


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (
            [0, 1, 3],
            DataError,
            "y requires class numbers 0 to 2, got 3 in row 2. The network has 3 outputs; these labels",
        ),
        ([1, 2, 3], DataError, "got 3 in row 2. The labels start at 1; use y - 1."),
        ([1, -1, 1], DataError, "got -1 in row 1. Labels -1 and 1 become 0 and 1"),
        ([0, -1, 1], DataError, "got -1 in row 1. Count from 0."),
        ([0, 1.5, 2.5], DataError, "y requires whole class numbers, got 1.5 in row 1. For a number to predict"),
        ([0, NAN, 1], DataError, "got nan in row 1 (1 such"),
        (["a", "b"], DataError, "got the text 'a' in row 0. Class names become numbers with: names, y = np.unique"),
        ([[0, 1, 0], [0, 1, 1]], DataError, "sum to 1, got [0, 1, 1] in row 1, with the sum 2. Divide each row by"),
        ([[0, 1, 0], [0.3, 0.3, 0.3]], DataError, "got [0.3, 0.3, 0.3] in row 1, with the sum 0.9."),
        ([[0.5, 0.7, -0.2]], DataError, "one-hot rows (one 1, otherwise 0), or rows of probabilities"),
        ([[0.5, 0.7, -0.2]], DataError, "in row 0, with a negative number."),
        ([[0.5, 0.5, NAN]], DataError, "got nan in row 0, column 2"),
        ([[0, 1], [1, 0]], ShapeError, "y requires shape (rows,) or (rows, 3), got (2, 2)"),
        ([], DataError, "y requires at least one row"),
    ],
)
def test_invalid_labels_are_refused(y, kind, message):
    assert message in message_of(check_class_labels, y, 3, kind=kind)


def test_valid_targets_are_accepted():
    assert check_targets([1.0, 2.0], 1).shape == (2, 1)
    y = np.ones((4, 3), np.float32)
    assert check_targets(y, 3) is y
    assert check_binary_targets([0, 1, 0.5], 1).shape == (3, 1)
    assert check_binary_targets(np.array([True, False]), 1).shape == (2, 1)


@pytest.mark.parametrize(
    ("check", "y", "outputs", "kind", "message"),
    [
        (
            check_targets,
            np.ones(3),
            2,
            ShapeError,
            "y requires shape (rows, 2), got (3,). The network has 2 outputs. Class",
        ),
        (check_targets, np.ones((3, 3)), 2, ShapeError, "y requires shape (rows, 2), got (3, 3)"),
        (check_targets, [1.0, INF], 1, DataError, "got inf in row 1, column 0 (1 such"),
        (check_targets, np.ones((0, 1)), 1, DataError, "at least one row"),
        (check_binary_targets, [0.0, 1.5], 1, DataError, "y requires numbers from 0 to 1, got 1.5 in row 1."),
        (check_binary_targets, [-1, 1], 1, DataError, "got -1 in row 0. Targets -1 and 1 become"),
    ],
)
def test_invalid_targets_are_refused(check, y, outputs, kind, message):
    assert message in message_of(check, y, outputs, kind=kind)


def test_valid_weights_are_accepted_and_others_refused():
    w = np.array([0.0, 2.0])
    assert check_weights(w, 2) is w
    assert "require shape (3,), got (2,)" in message_of(check_weights, w, 3, kind=ShapeError)
    assert "at least 0, got -1.0 in row 1" in message_of(check_weights, [1.0, -1.0], 2)
    assert "got nan in row 0" in message_of(check_weights, [NAN, 1.0], 2)
    assert "only zeros" in message_of(check_weights, [0, 0], 2)


@pytest.mark.parametrize("value", [3.5e38, -1e39, 1e300])
def test_range_is_checked_in_the_dtype_of_the_computation(value, mapped):
    x = np.zeros((50, 3))
    x[41, 1] = value
    assert check_features(x, 3, dtype="float64") is x
    for rows in (x, mapped(x)):
        text = message_of(check_features, rows, 3, dtype="float32")
        assert text.startswith("x requires numbers of float32, up to 3.4e+38 in size, got ")
        assert f"got {value} in row 41, column 1 (1 such" in text
        assert 'dtype="float64"' in text
    assert "got" in message_of(check_targets, x, 3, dtype="float32")


def test_largest_number_that_rounds_to_a_finite_float32_is_accepted():
    most = float(np.finfo(np.float32).max)
    below, above = most + 2.0**102, most + 2.0**103
    assert check_features([[most, -most, below]], 3, dtype="float32").dtype == np.float64
    with np.errstate(over="ignore"):
        assert np.isfinite(np.float32(below))
        assert np.isinf(np.float32(above))
    assert "in row 0, column 0" in message_of(check_features, [[above]], 1, dtype="float32")
    assert check_features([[2**63]], 1, dtype="float32").dtype == np.uint64


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_nan_is_named_before_numbers_that_are_too_large(value, dtype):
    x = np.array([[1e300, 0.0], [0.0, value]])
    assert f"requires finite numbers, got {value} in row 1, column 1 (1 such" in message_of(
        check_features, x, 2, dtype=dtype
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.0, 1e-60, 0.0], "got 1e-60 in row 1"),
        ([1e60, 1.0, 1.0], "got 1e+60 in row 0, (1 such"),
        ([1.0, 2e38, 1.0], "got 2e+38 in row 1"),
        ([0.0, 0.0, 1e-40], "got 1e-40 in row 2"),
    ],
)
def test_weights_that_underflow_are_refused(weights, message):
    text = message_of(check_weights, weights, 3, dtype="float32").replace("row 0 (1", "row 0, (1")
    assert message in text
    assert "float32" in text
    assert check_weights(weights, 3, dtype="float64").dtype == np.float64


def test_weights_of_any_usual_size_are_accepted():
    for weights in ([1e-37, 0.0], [1e30, 1e-60], [1, 0], [True, False]):
        check_weights(weights, 2, dtype="float32", outputs=1000)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_each_of_several_processes_looks_at_its_rows_alone_and_together_at_all(parts: int) -> None:
    for row in range(5):
        x = np.zeros((5, 2))
        x[row, 1] = np.nan
        finders = []
        for k in range(parts):
            if 5 * k // parts <= row < 5 * (k + 1) // parts:
                assert f"nan in row {row}, column 1" in message_of(check_features, x, 2, part=(k, parts))
                finders.append(k)
            else:
                check_features(x, 2, part=(k, parts))
        assert len(finders) == 1
