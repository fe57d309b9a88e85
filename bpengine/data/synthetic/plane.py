"""Figures in the plane whose classes no straight line separates. x has two columns, roughly within -1..1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from bpengine.data.synthetic.recipes import Classification, Sampler, balanced_labels
from bpengine.data.table import Array
from bpengine.data.validation.options import between, exactly, whole


def _check(owner: str, features: int, classes: int, noise: float) -> None:
    exactly(owner, "features", features, 2)
    whole(owner, "classes", classes, 2)
    between(owner, "noise", noise, 0.0, 1e6)


def _around(rng: Generator, radius: Array, angle: Array, noise: float) -> Array:
    """Return points at the given radius and angle (radians), both (rows,), plus noise * N(0, 1) -> (rows, 2)."""
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return points + noise * rng.standard_normal(points.shape)


@dataclass(frozen=True)
class Spirals(Classification):
    """One spiral arm per class, at equal angles, each winding `turns` times from the centre to radius 1.

    `noise` is the standard deviation added to both coordinates. Every class is equally frequent.
    Source: Lang, Witbrock, "Learning to tell two spirals apart", 1988 Connectionist Models Summer School.
    """

    features: int = 2
    classes: int = 2
    turns: float = 1.5
    noise: float = 0.02

    def __post_init__(self) -> None:
        _check("spirals", self.features, self.classes, self.noise)
        between("spirals", "turns", self.turns, 0.0, 1e3)

    def sampler(self, fixed: Generator) -> Sampler:
        """Return the sampler; nothing is shared between rows."""

        def sample(rng: Generator, rows: int) -> tuple[Array, Array]:
            y = balanced_labels(rng, rows, self.classes)
            radius = np.sqrt(rng.random(rows))  # the square root spreads the points evenly along the arm
            angle = 2 * np.pi * (self.turns * radius + y / self.classes)
            return _around(rng, radius, angle, self.noise), y

        return sample


@dataclass(frozen=True)
class Circles(Classification):
    """One ring per class around the origin, of radius (label + 1) / classes.

    `noise` is the standard deviation added to both coordinates. Every class is equally frequent.
    """

    features: int = 2
    classes: int = 2
    noise: float = 0.05

    def __post_init__(self) -> None:
        _check("circles", self.features, self.classes, self.noise)

    def sampler(self, fixed: Generator) -> Sampler:
        """Return the sampler; nothing is shared between rows."""

        def sample(rng: Generator, rows: int) -> tuple[Array, Array]:
            y = balanced_labels(rng, rows, self.classes)
            return _around(rng, (y + 1) / self.classes, 2 * np.pi * rng.random(rows), self.noise), y

        return sample


@dataclass(frozen=True)
class Checkerboard(Classification):
    """Uniform points in [-1, 1) x [-1, 1) on a board of cells x cells squares, coloured 0 and 1 in turn."""

    features: int = 2
    classes: int = 2
    cells: int = 4

    def __post_init__(self) -> None:
        _check("checkerboard", self.features, self.classes, 0.0)
        whole("checkerboard", "cells", self.cells, 2)
        exactly("checkerboard", "classes", self.classes, 2)

    def sampler(self, fixed: Generator) -> Sampler:
        """Return the sampler; nothing is shared between rows."""

        def sample(rng: Generator, rows: int) -> tuple[Array, Array]:
            square = rng.random((rows, 2), dtype=np.float32)
            y = np.floor(square * self.cells).astype(np.int64).sum(axis=1) % 2
            return 2 * square - 1, y

        return sample
