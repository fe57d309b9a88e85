"""Sets small enough to work through on paper (sets from other sources are in other files)."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from bpengine.data.dataset import Dataset


def xor() -> Dataset:
    """Return exclusive or: four rows, no straight line separates them.

    The targets are the numbers 0.0 and 1.0, shape (4, 1), for a sigmoid output or a squared loss.
    Source: Rumelhart, Hinton, Williams, "Learning internal representations by error propagation", PDP vol. 1, 1986.
    """
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.array([[0.0], [1.0], [1.0], [0.0]])
    return Dataset(
        name="xor", x=x, y=y, feature_names=("a", "b"), class_names=None, task="regression", source="exclusive or"
    )


def dosage() -> Dataset:
    """Return how well a drug works at three dosages: low 0 -> 0, medium 0.5 -> 1, high 1 -> 0.

    Shapes: x (3, 1), y (3, 1).
    Source: StatQuest, "Neural Networks Pt. 2: Backpropagation Main Ideas", youtu.be/IN2XmBhILt4.
    """
    x = np.array([[0.0], [0.5], [1.0]])
    y = np.array([[0.0], [1.0], [0.0]])
    return Dataset(
        name="dosage", x=x, y=y, feature_names=("dosage",), class_names=None, task="regression",
        source="StatQuest, Neural Networks Pt. 2",
    )  # fmt: skip


TEXTBOOK: MappingProxyType[str, Callable[..., Dataset]] = MappingProxyType({"xor": xor, "dosage": dosage})
