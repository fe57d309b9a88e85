"""Keras on its JAX backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from bpengine.backend import HostArray
from bpengine.benchmark.inputs import Sample, Weights
from bpengine.benchmark.peers.peer import Peer
from bpengine.benchmark.workloads import EPS

PASSES = 1000  # copies of the full batch in sequence: one call trains this many steps


class KerasJax(Peer):
    """`fit` once per epoch, on rows already in order, compiled by XLA."""

    packages = ("keras", "jax", "jaxlib")
    note = "fit once per epoch, on rows already in order; jit_compile"

    def __init__(self, sample: Sample, argument: str, device: str) -> None:
        super().__init__(sample, argument, device)
        work, losses = self.workload, keras.losses
        keras.config.set_floatx(work.dtype)
        layers = [keras.layers.Dense(units, activation=work.activation) for units in work.sizes[1:-1]]
        self._model: Any = keras.Sequential([keras.Input(work.sizes[:1]), *layers, keras.layers.Dense(work.sizes[-1])])
        loss = losses.BinaryCrossentropy if work.binary else losses.SparseCategoricalCrossentropy
        self._model.compile(self._optimizer(), loss(from_logits=True), jit_compile=True)

    def reset(self) -> None:
        """Set the initial weights, and zero the optimiser's slots."""
        self._model.set_weights([array for layer in self.sample.initial for array in layer])
        for slot in self._model.optimizer.variables:
            if slot.name != "learning_rate":
                slot.assign(np.zeros(slot.shape, slot.dtype))

    def train(self, steps: int) -> None:
        """Fit each epoch's rows in their order."""
        x, y = self.sample.x, self.sample.y
        for epoch in self.sample.epochs(steps):
            if epoch.order is not None:
                rows = epoch.order.ravel()
                self._fit(np.take(x, rows, axis=0), y[rows])
                continue
            for start in range(0, epoch.steps, PASSES):
                times = min(PASSES, epoch.steps - start)
                self._fit(np.tile(x, (times, 1)), np.tile(y, (times, 1)))

    def weights(self) -> Weights:
        """Return kernels and biases."""
        flat = [np.asarray(array) for array in self._model.get_weights()]
        return list(zip(flat[::2], flat[1::2], strict=True))

    def _fit(self, x: HostArray, y: HostArray) -> None:
        self._model.fit(x, y, batch_size=self.workload.batch, epochs=1, shuffle=False, verbose=0)

    def _optimizer(self) -> keras.optimizers.Optimizer:
        if self.workload.optimizer == "sgd":
            return keras.optimizers.SGD(self.workload.rate)
        return keras.optimizers.Adam(self.workload.rate, epsilon=EPS)
