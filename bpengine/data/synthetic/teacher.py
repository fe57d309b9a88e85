"""A random two-layer tanh network as teacher: any number of rows and features, and a task that a network can learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from bpengine.data.dataset import Task
from bpengine.data.synthetic.recipes import Classification, Sampler
from bpengine.data.table import Array
from bpengine.data.validation.options import between, whole

GAIN = 2.0  # standard deviation of the hidden units' weighted sums: tanh is nonlinear there, yet seldom saturated
CALIBRATION_ROWS = 4096


def draw_inputs(rng: Generator, rows: int, features: int) -> Array:
    """Return standard normal inputs (rows, features), float32: the same numbers for every requested dtype."""
    return rng.standard_normal((rows, features), dtype=np.float32)


def random_teacher(fixed: Generator, features: int, hidden: int, outputs: int) -> Callable[[Array], Array]:
    """Return f(x) = (tanh(x w1 + b1) w2 - mean) / std, with mean 0 and std 1 over 4,096 calibration rows.

    Shapes: w1 (features, hidden) ~ GAIN N(0, 1/features), b1 (hidden,) and w2 (hidden, outputs) ~ N(0, 1);
    x (rows, features) -> (rows, outputs). Computed in float64, so the last digits of a machine's matrix product
    vanish when the result is rounded to float32.
    """
    w1 = fixed.standard_normal((features, hidden)) * (GAIN / np.sqrt(features))
    b1, w2 = fixed.standard_normal(hidden), fixed.standard_normal((hidden, outputs))

    def raw(x: Array) -> Array:
        z = x.astype(np.float64) @ w1
        z += b1
        return np.asarray(np.tanh(z, out=z) @ w2)

    sample = raw(draw_inputs(fixed, CALIBRATION_ROWS, features))
    mean, std = sample.mean(axis=0), sample.std(axis=0)
    return lambda x: (raw(x) - mean) / std


@dataclass(frozen=True)
class TeacherRegression:
    """Standard normal x; y = teacher(x) + noise * N(0, 1), each output with mean 0 and std 1 before the noise.

    `noise` is a standard deviation: no network can reach a mean squared error below noise ** 2.
    """

    features: int = 64
    hidden: int = 32
    outputs: int = 1
    noise: float = 0.0
    task: ClassVar[Task] = "regression"
    classes: ClassVar[None] = None

    def __post_init__(self) -> None:
        for name in ("features", "hidden", "outputs"):
            whole("teacher_regression", name, getattr(self, name), 1)
        between("teacher_regression", "noise", self.noise, 0.0, 1e6)

    def sampler(self, fixed: Generator) -> Sampler:
        """Fix the teacher."""
        teacher = random_teacher(fixed, self.features, self.hidden, self.outputs)

        def sample(rng: Generator, rows: int) -> tuple[Array, Array]:
            x = draw_inputs(rng, rows, self.features)
            y = teacher(x)
            return x, y + self.noise * rng.standard_normal(y.shape) if self.noise else y

        return sample


@dataclass(frozen=True)
class TeacherClassification(Classification):
    """Standard normal x; y = the teacher's largest output, so classes are about, not exactly, equally frequent.

    `noise` is the fraction of rows whose label is replaced by a random class: no network can reach an accuracy above
    1 - noise * (classes - 1) / classes.
    """

    features: int = 64
    classes: int = 10
    hidden: int = 32
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name, minimum in (("features", 1), ("classes", 2), ("hidden", 1)):
            whole("teacher_classification", name, getattr(self, name), minimum)
        between("teacher_classification", "noise", self.noise, 0.0, 1.0)

    def sampler(self, fixed: Generator) -> Sampler:
        """Fix the teacher."""
        teacher = random_teacher(fixed, self.features, self.hidden, self.classes)

        def sample(rng: Generator, rows: int) -> tuple[Array, Array]:
            x = draw_inputs(rng, rows, self.features)
            y = teacher(x).argmax(axis=1)
            if self.noise:
                y = np.where(rng.random(rows) < self.noise, rng.integers(self.classes, size=rows), y)
            return x, y

        return sample
