"""A whole fit with scikit-learn's MLPClassifier."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from bpengine.benchmark.peers.whole_fits.fit_script import FitTask, Weights, run
from bpengine.benchmark.peers.whole_fits.scikit_outputs import with_an_output_for_each_class

PACKAGES = ("scikit-learn", "numpy", "scipy")
NOTE = "partial_fit once per epoch, on rows already in order: fit draws weights and orders of its own"


class ScikitFit:
    """An MLPClassifier that starts from the initial weights, without penalty."""

    def __init__(self, task: FitTask, argument: str) -> None:
        warnings.simplefilter("ignore", ConvergenceWarning)
        self._task, self._orders = task, task.orders()
        self._model: Any = MLPClassifier(
            task.sizes[1:-1],
            alpha=0.0,
            batch_size=task.batch,
            learning_rate_init=task.rate,
            shuffle=False,
            epsilon=task.eps,
        )
        few = slice(0, task.batch)  # a first call allocates the arrays, which then get the initial weights
        self._model.partial_fit(task.x[few], task.y[few], classes=np.arange(task.sizes[-1]))
        with_an_output_for_each_class(self._model, task.sizes[-1])
        initial = task.initial()
        self._model.coefs_, self._model.intercepts_ = [w for w, _ in initial], [b for _, b in initial]
        self.renew()

    def renew(self) -> None:
        """Let the next epoch start with a new optimiser."""
        del self._model._optimizer

    def train(self, call: int) -> None:
        """Fit each epoch's rows in their order."""
        for order in self._orders[call]:
            self._model.partial_fit(self._task.x[order], self._task.y[order])

    def weights(self) -> Weights:
        """Return coefs_ and intercepts_."""
        return list(zip(self._model.coefs_, self._model.intercepts_, strict=True))


if __name__ == "__main__":
    run(ScikitFit, PACKAGES, NOTE)
