"""A whole fit with the engine: Model and `Model.fit`.

The argument is a backend's name; "numpy:plain" never compiles, "numpy:at-once" compiles from the first step on, which
fills the cache.
"""

from __future__ import annotations

import math
from functools import cache

from bpengine.backend import Backend, backend_class
from bpengine.benchmark.peers.whole_fits.fit_script import FitTask, Weights, run
from bpengine.layers import Dense
from bpengine.model import Model
from bpengine.network import Network
from bpengine.training import Adam

PACKAGES = ("bpengine", "numpy", "llvmlite", "jax", "jaxlib")
NOTE = "Model.fit"


class EngineFit:
    """A model of the engine, trained by `Model.fit` as its users call it."""

    def __init__(self, task: FitTask, argument: str) -> None:
        self._task = task
        *hidden, outputs = task.sizes[1:]
        layers = [*(Dense(units, "relu") for units in hidden), Dense(outputs)]
        network = Network(task.sizes[0], layers, "softmax_cross_entropy")
        self._model = Model(network, _backend(argument), seed=task.seed)

    def renew(self) -> None:
        """Do nothing: each fit starts with a new optimiser."""

    def train(self, call: int) -> None:
        """Fit; the last loss is on the host only when the last step is done."""
        task, rule = self._task, Adam(self._task.rate, eps=self._task.eps)
        history = self._model.fit(task.x, task.y, optimizer=rule, batch_size=task.batch, epochs=task.epochs)
        float(history.loss[-1])

    def weights(self) -> Weights:
        """Return the model's parameters."""
        named = self._model.parameters
        return [(named[f"{i}.weight"], named[f"{i}.bias"]) for i in range(len(self._task.sizes) - 1)]


@cache
def _backend(argument: str) -> str | Backend:
    """Return the backend: one object for all fits of the process."""
    name, _, how = argument.partition(":")
    if how == "plain":
        backend: Backend = type("PlainNumpyBackend", (backend_class(name),), {"patience": math.inf})()
        return backend
    if how == "at-once":
        backend_class(name).patience = -math.inf
    return name


if __name__ == "__main__":
    run(EngineFit, PACKAGES, NOTE)
