"""Thinc: layers that return their backward, and its own optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
from thinc.api import SGD, Adam, Linear, NumpyOps, Relu, Sigmoid, chain, set_current_ops

from bpengine.backend import HostArray
from bpengine.benchmark.inputs import Sample, Weights
from bpengine.benchmark.peers.peer import Peer
from bpengine.benchmark.workloads import EPS


class ThincLayers(Peer):
    """A chain of Relu and Linear, begin_update and finish_update; the gradient of the loss is taken from the logits."""

    packages = ("thinc", "blis", "numpy")
    note = "NumpyOps with BLIS; begin_update, finish_update"

    def __init__(self, sample: Sample, argument: str, device: str) -> None:
        super().__init__(sample, argument, device)
        set_current_ops(NumpyOps())
        sizes = self.workload.sizes
        pairs = list(zip(sizes[1:], sizes, strict=False))
        hidden: Any = Relu if self.workload.activation == "relu" else Sigmoid
        self._layers: list[Any] = [hidden(o, i) for o, i in pairs[:-1]] + [Linear(*pairs[-1])]
        self._model: Any = chain(*self._layers)
        self._model.initialize(sample.x[:2])
        self._rule: Any = None

    def reset(self) -> None:
        """Set the initial weights, and start a new optimiser."""
        for layer, (w, b) in zip(self._layers, self.sample.initial, strict=True):
            layer.set_param("W", w.T.copy())
            layer.set_param("b", b.copy())
        rate = self.workload.rate
        plain = {"L2": 0.0, "grad_clip": 0.0, "use_averages": False}
        self._rule = SGD(rate, **plain) if self.workload.optimizer == "sgd" else Adam(rate, eps=EPS, **plain)

    def train(self, steps: int) -> None:
        """Take each batch, and step."""
        x, y = self.sample.x, self.sample.y
        for epoch in self.sample.epochs(steps):
            for i in range(epoch.steps):
                rows = slice(None) if epoch.order is None else epoch.order[i]
                logits, backprop = self._model.begin_update(x[rows])
                backprop(self._gradient(logits, y[rows]))
                self._model.finish_update(self._rule)

    def _gradient(self, logits: HostArray, target: HostArray) -> HostArray:
        """Return the gradient of the mean cross-entropy with respect to the logits."""
        if self.workload.binary:
            return np.asarray((1 / (1 + np.exp(-logits)) - target) / len(logits))
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        e /= e.sum(axis=1, keepdims=True)
        e[np.arange(len(e)), target] -= 1
        return np.asarray(e / len(e))

    def weights(self) -> Weights:
        """Return the parameters, weights as (inputs, units)."""
        return [(layer.get_param("W").T, layer.get_param("b")) for layer in self._layers]
