"""Synthetic sets: the same rows however many are asked for, in whatever portions, on every run."""

import zlib

import numpy as np
import pytest

from bpengine.data import generate, load
from bpengine.data.synthetic.generate import BLOCK, SYNTHETIC
from bpengine.data.synthetic.teacher import CALIBRATION_ROWS
from bpengine.errors import ConfigError
from tests.tolerances import correlation_atol, value_rtol


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_smaller_set_is_the_beginning_of_a_larger(name):
    large = generate(name, 2 * BLOCK + 10, seed=5)
    for rows in (1, 100, BLOCK, BLOCK + 1):
        small = generate(name, rows, seed=5)
        np.testing.assert_array_equal(small.x, large.x[:rows])
        np.testing.assert_array_equal(small.y, large.y[:rows])


@pytest.mark.parametrize("name", SYNTHETIC)
def test_portions_join_to_the_whole(name):
    whole = generate(name, 10_000, seed=1)
    for portion in (3333, 5000):
        parts = [generate(name, min(portion, 10_000 - at), seed=1, start=at) for at in range(0, 10_000, portion)]
        np.testing.assert_array_equal(np.concatenate([part.x for part in parts]), whole.x)
        np.testing.assert_array_equal(np.concatenate([part.y for part in parts]), whole.y)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_seed_changes_rows_and_blocks_differ(name):
    a, b = generate(name, 2 * BLOCK), generate(name, 2 * BLOCK, seed=1)
    assert not np.array_equal(a.x, b.x)
    assert not np.array_equal(a.x[:BLOCK], a.x[BLOCK:])


@pytest.mark.parametrize("name", SYNTHETIC)
def test_dtypes_hold_the_same_numbers(name):
    single, double = generate(name, 500), generate(name, 500, dtype="float64")
    assert (single.x.dtype, double.x.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(double.x.astype(np.float32), single.x)
    np.testing.assert_array_equal(double.y.astype(single.y.dtype), single.y)


@pytest.mark.parametrize("name", [name for name in SYNTHETIC if name != "teacher_regression"])
def test_classes_are_balanced(name):
    dataset = generate(name, 4 * BLOCK)
    counts = np.bincount(dataset.y, minlength=dataset.classes)
    fair = dataset.rows / dataset.classes
    assert len(counts) == dataset.classes
    assert counts.min() > fair / 2
    assert counts.max() < 2 * fair


@pytest.mark.parametrize(
    ("name", "expected"),
    [("parity", 1459039382), ("checkerboard", 852389749), ("teacher_classification", 3540783523)],
)
def test_rows_never_change(name, expected):
    dataset = generate(name, 1000, seed=7)
    code = zlib.crc32(dataset.x.astype("<f4").tobytes() + dataset.y.astype("<i8").tobytes())
    assert code == expected


def test_parity_is_the_parity_of_the_bits():
    dataset = generate("parity", 3000, features=5)
    np.testing.assert_array_equal(np.unique(dataset.x), [0, 1])
    np.testing.assert_array_equal(dataset.y, dataset.x.sum(axis=1) % 2)
    assert len(np.unique(dataset.x, axis=0)) == 2**5


def test_checkerboard_colours_squares():
    dataset = generate("checkerboard", 3000, cells=2, dtype="float64")
    np.testing.assert_array_equal(dataset.y, (dataset.x[:, 0] >= 0) != (dataset.x[:, 1] >= 0))


def test_circles_without_noise_lie_on_their_rings():
    dataset = generate("circles", 300, classes=3, noise=0.0, dtype="float64")
    np.testing.assert_allclose(np.hypot(*dataset.x.T) * 3, dataset.y + 1, rtol=value_rtol(np.float64))


def test_spirals_turn_into_each_other():
    dataset = generate("spirals", 300, noise=0.0, turns=1.0, dtype="float64")
    radius, angle = np.hypot(*dataset.x.T), np.arctan2(dataset.x[:, 1], dataset.x[:, 0])
    arm = np.mod(angle - 2 * np.pi * radius, 2 * np.pi) / np.pi
    np.testing.assert_array_equal(np.rint(arm) % 2, dataset.y)


def test_blobs_lie_around_their_centres():
    dataset = generate("blobs", 4000, features=5, classes=3, separation=50.0)
    spread = [dataset.x[dataset.y == label].std(axis=0) for label in range(3)]
    np.testing.assert_allclose(spread, 1, rtol=0, atol=correlation_atol(4000 // 3))


def test_teacher_regression_has_unit_outputs_and_the_noise_asked_for():
    clean, noisy = (generate("teacher_regression", 20_000, outputs=3, noise=noise) for noise in (0.0, 0.5))
    np.testing.assert_array_equal(clean.x, noisy.x)
    assert clean.y.shape == (20_000, 3)
    np.testing.assert_allclose(clean.y.std(axis=0), 1, rtol=0, atol=correlation_atol(CALIBRATION_ROWS))
    np.testing.assert_allclose((noisy.y - clean.y).std(axis=0), 0.5, rtol=0, atol=correlation_atol(20_000))


def test_teacher_noise_replaces_that_share_of_labels():
    clean, noisy = (generate("teacher_classification", 20_000, classes=4, noise=noise) for noise in (0.0, 0.4))
    np.testing.assert_array_equal(clean.x, noisy.x)
    changed = np.mean(clean.y != noisy.y)  # a quarter of the random labels is right by chance
    np.testing.assert_allclose(changed, 0.4 * 3 / 4, rtol=0, atol=correlation_atol(20_000))


def test_load_passes_options_on():
    np.testing.assert_array_equal(load("spirals", rows=50, noise=0.1).x, generate("spirals", 50, noise=0.1).x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "teacher"}, "unknown synthetic data set 'teacher'. Did you mean 'teacher_regression'"),
        ({"noize": 1}, "unknown option of spirals: 'noize'. Did you mean 'noise'"),
        ({"features": 3}, "spirals requires features = 2, got 3"),
        ({"noise": -1}, "spirals requires 0.0 <= noise"),
        ({"rows": 0}, "generate requires rows to be a whole number of at least 1, got 0"),
        ({"rows": 1.5}, "rows to be a whole number of at least 1, got 1.5"),
        ({"seed": -1}, "seed to be a whole number of at least 0, got -1"),
        ({"dtype": "int32"}, "dtype float16, float32 or float64, got 'int32'"),
        ({"dtype": "nonsense"}, "got 'nonsense'"),
    ],
)
def test_invalid_settings_of_synthetic_sets_are_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        generate(**{"name": "spirals", "rows": 10, **options})
    assert message in str(caught.value)
