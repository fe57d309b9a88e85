"""Truth: the targets that predictions are compared with, and the forms of both that scores take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from bpengine.backend import HostArray
from bpengine.data import in_memory
from bpengine.network import Network

BINARY: Final = "two classes"
MULTICLASS: Final = "more than two classes"
MULTILABEL: Final = "a yes or no for each output"
REGRESSION: Final = "values"
CLASSES: Final = (BINARY, MULTICLASS, MULTILABEL)


def task_of(network: Network) -> str:
    """Return which kind of task a network is for, by the targets of its loss and the number of its outputs."""
    kind, outputs = network.loss.target, network.outputs
    if kind == "values":
        return REGRESSION
    if kind == "binary":
        return BINARY if outputs == 1 else MULTILABEL
    return BINARY if outputs == 2 else MULTICLASS


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The targets of the rows whose weight is above 0, values in their own unit, and the weights (rows,) or None.

    target: as a network takes it, class numbers (rows,) or (rows, outputs).
    """

    task: str
    outputs: int
    target: HostArray
    weights: HostArray | None = None

    @classmethod
    def of(
        cls,
        network: Network,
        target: HostArray,
        weights: HostArray | None,
        decode: Callable[[HostArray], HostArray] | None = None,
    ) -> Truth:
        """Return the truth of checked rows; `decode` converts standardised values to their own unit."""
        target, weights = np.asarray(in_memory(target)), None if weights is None else np.asarray(in_memory(weights))
        if weights is not None:
            target, weights = target[weights > 0], weights[weights > 0].astype(float)
        decoded = decode(target.astype(float)) if decode else target
        return cls(task=task_of(network), outputs=network.outputs, target=decoded, weights=weights)

    @property
    def classes(self) -> HostArray:
        """The true classes: numbers (rows,), or 0 and 1 (rows, outputs); the most likely one of a soft label."""
        return self.target if self.target.ndim == 1 else self.chosen(self.target)

    def chosen(self, predictions: HostArray) -> HostArray:
        """Return the classes that predictions (rows, outputs) choose, in the form of `classes`."""
        if self.task == MULTILABEL:
            return (predictions > 0.5).astype(np.int64)
        if self.outputs == 1 and self.task == BINARY:
            return (predictions[:, 0] > 0.5).astype(np.int64)
        return np.asarray(np.argmax(predictions, axis=1))

    def ranking(self, predictions: HostArray) -> HostArray:
        """Return how likely each class is (rows, outputs); of two classes that of the second (rows,)."""
        return predictions[:, -1] if self.task == BINARY else predictions

    @property
    def single(self) -> str | None:
        """Return a message where the network has a single class, which it predicts for every row."""
        return "a single class" if self.task == MULTICLASS and self.outputs == 1 else None

    def absent(self) -> str | None:
        """Return a message for a class, or a yes or no of an output, that no row has, so that its curve is undefined."""
        classes = self.classes
        if self.task == MULTILABEL:
            mean = classes.mean(axis=0)
            alike = np.flatnonzero((mean == 0) | (mean == 1))
            return f"the same answer in every row for output {alike[0]}" if alike.size else None
        if self.single:
            return self.single
        here = np.bincount(classes, minlength=2 if self.task == BINARY else self.outputs)
        return None if here.all() else f"none of class {int(np.argmin(here > 0))}, counted from 0"
