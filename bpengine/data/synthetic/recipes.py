"""Recipes of synthetic sets: a few settings, and a sampler that draws one block of rows from a seeded generator.

A recipe is a frozen dataclass. Its `sampler(fixed)` draws the values common to all rows (a teacher's weights, the centres of
blobs) from `fixed` and returns a function that draws one block of rows from the block's generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator

from bpengine.data.dataset import Task
from bpengine.data.table import Array
from bpengine.data.validation.options import between, exactly, whole

Sampler = Callable[[Generator, int], tuple[Array, Array]]  # (generator, rows) -> x (rows, features), y


class Recipe(Protocol):
    """The interface of a recipe."""

    @property
    def features(self) -> int:
        """Number of columns of x."""
        ...

    @property
    def task(self) -> Task:
        """The kind of y: class numbers or numbers to predict."""
        ...

    @property
    def classes(self) -> int | None:
        """Number of classes; None for regression."""
        ...

    @property
    def outputs(self) -> int:
        """Number of columns of y for regression."""
        ...

    def sampler(self, fixed: Generator) -> Sampler:
        """Return the function that draws a block of rows."""
        ...


class Classification:
    """Base of the recipes whose y is a class number."""

    task: Task = "classification"
    outputs: int = 1


def balanced_labels(rng: Generator, rows: int, classes: int) -> Array:
    """Return `rows` labels in random order, every class equally often (to within one row of each other)."""
    return rng.permutation(rows) % classes


@dataclass(frozen=True)
class Blobs(Classification):
    """Round clouds of standard deviation 1 around random centres.

    The centres are standard normal times `separation`; with many features they lie about separation * sqrt(2 *
    features) apart. Every class is equally frequent.
    """

    features: int = 2
    classes: int = 3
    separation: float = 4.0

    def __post_init__(self) -> None:
        whole("blobs", "features", self.features, 1)
        whole("blobs", "classes", self.classes, 2)
        between("blobs", "separation", self.separation, 0.0, 1e6)

    def sampler(self, fixed: Generator) -> Sampler:
        """Fix the centres (classes, features)."""
        centres = fixed.standard_normal((self.classes, self.features)) * self.separation

        def sample(rng: Generator, rows: int) -> tuple[Array, Array]:
            y = balanced_labels(rng, rows, self.classes)
            return rng.standard_normal((rows, self.features)) + centres[y], y

        return sample


@dataclass(frozen=True)
class Parity(Classification):
    """Random bits 0 and 1; the class is 1 where an odd number of them is 1 (2 features: exclusive or).

    Patterns are drawn with replacement. Every output depends on every bit, the classic hard case for learning.
    Source: Minsky, Papert, "Perceptrons", 1969.
    """

    features: int = 8
    classes: int = 2

    def __post_init__(self) -> None:
        whole("parity", "features", self.features, 1)
        exactly("parity", "classes", self.classes, 2)

    def sampler(self, fixed: Generator) -> Sampler:
        """Return the sampler; nothing is shared between rows."""

        def sample(rng: Generator, rows: int) -> tuple[Array, Array]:
            x = rng.integers(0, 2, (rows, self.features), dtype=np.int8)
            return x, x.sum(axis=1, dtype=np.int64) % 2

        return sample
