"""A whole fit with Thinc."""

from __future__ import annotations

from typing import Any

import numpy as np
from thinc.api import Adam, Linear, NumpyOps, Relu, chain, set_current_ops

from bpengine.benchmark.peers.whole_fits.fit_script import Array, FitTask, Weights, run

PACKAGES = ("thinc", "blis", "numpy")
NOTE = "NumpyOps with BLIS; begin_update, finish_update"


class ThincFit:
    """A chain of Relu and Linear; the gradient of the loss is taken from the logits."""

    def __init__(self, task: FitTask, argument: str) -> None:
        set_current_ops(NumpyOps())
        self._task, self._orders = task, task.orders()
        pairs = list(zip(task.sizes[1:], task.sizes, strict=False))
        self._layers: list[Any] = [Relu(o, i) for o, i in pairs[:-1]] + [Linear(*pairs[-1])]
        self._model: Any = chain(*self._layers)
        self._model.initialize(task.x[:2])
        for layer, (w, b) in zip(self._layers, task.initial(), strict=True):
            layer.set_param("W", w.T.copy())
            layer.set_param("b", b)
        self.renew()

    def renew(self) -> None:
        """Start a new optimiser."""
        self._rule = Adam(self._task.rate, eps=self._task.eps, L2=0.0, grad_clip=0.0, use_averages=False)

    def train(self, call: int) -> None:
        """Take each batch, and step."""
        task = self._task
        for order in self._orders[call]:
            for start in range(0, len(order), task.batch):
                rows = order[start : start + task.batch]
                logits, backprop = self._model.begin_update(task.x[rows])
                backprop(_gradient(logits, task.y[rows]))
                self._model.finish_update(self._rule)

    def weights(self) -> Weights:
        """Return the parameters, weights as (inputs, units)."""
        return [(layer.get_param("W").T, layer.get_param("b")) for layer in self._layers]


def _gradient(logits: Array, target: Array) -> Array:
    """Return the gradient of the mean cross-entropy with respect to the logits."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    e[np.arange(len(e)), target] -= 1
    return e / len(e)


if __name__ == "__main__":
    run(ThincFit, PACKAGES, NOTE)
