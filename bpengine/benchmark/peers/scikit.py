"""scikit-learn's MLPClassifier."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from bpengine.benchmark.inputs import Sample, Weights
from bpengine.benchmark.peers.peer import Peer
from bpengine.benchmark.peers.whole_fits.scikit_outputs import with_an_output_for_each_class
from bpengine.benchmark.workloads import EPS

PASSES = 1000  # copies of the full batch in sequence: one call trains this many steps


class ScikitLearn(Peer):
    """`partial_fit` once per epoch, on rows already in order, without shuffling and without penalty."""

    packages = ("scikit-learn", "numpy", "scipy")
    note = "partial_fit once per epoch, on rows already in order"

    def __init__(self, sample: Sample, argument: str, device: str) -> None:
        super().__init__(sample, argument, device)
        warnings.simplefilter("ignore", ConvergenceWarning)
        work = self.workload
        self._y = sample.y.ravel().astype(np.int64)
        self._model: Any = MLPClassifier(
            work.sizes[1:-1],
            "relu" if work.activation == "relu" else "logistic",
            solver=work.optimizer,
            alpha=0.0,
            batch_size=work.batch,
            learning_rate_init=work.rate,
            shuffle=False,
            momentum=0.0,
            epsilon=EPS,
        )
        first = slice(0, max(work.batch, 1))
        self._model.partial_fit(sample.x[first], self._y[first], classes=np.arange(max(2, work.sizes[-1])))
        with_an_output_for_each_class(self._model, work.sizes[-1])

    def reset(self) -> None:
        """Set the initial weights, and reset the optimiser."""
        self._model.coefs_ = [w.copy() for w, _ in self.sample.initial]
        self._model.intercepts_ = [b.copy() for _, b in self.sample.initial]
        del self._model._optimizer

    def train(self, steps: int) -> None:
        """Fit each epoch's rows in their order."""
        x, y = self.sample.x, self._y
        for epoch in self.sample.epochs(steps):
            if epoch.order is not None:
                rows = epoch.order.ravel()
                self._model.partial_fit(np.take(x, rows, axis=0), y[rows])
                continue
            for start in range(0, epoch.steps, PASSES):
                times = min(PASSES, epoch.steps - start)
                self._model.partial_fit(np.tile(x, (times, 1)), np.tile(y, times))

    def weights(self) -> Weights:
        """Return coefs_ and intercepts_."""
        return list(zip(self._model.coefs_, self._model.intercepts_, strict=True))
