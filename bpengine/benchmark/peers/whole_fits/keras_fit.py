"""A whole fit with Keras, on its JAX backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from bpengine.benchmark.peers.whole_fits.fit_script import FitTask, Weights, run

PACKAGES = ("keras", "jax", "jaxlib", "numpy")
NOTE = "on JAX; fit once per epoch, on rows already in order; jit_compile"


class KerasFit:
    """A Sequential of Dense layers, compiled with Adam."""

    def __init__(self, task: FitTask, argument: str) -> None:
        self._task, self._orders = task, task.orders()
        layers = [keras.layers.Dense(units, activation="relu") for units in task.sizes[1:-1]]
        self._model: Any = keras.Sequential([keras.Input(task.sizes[:1]), *layers, keras.layers.Dense(task.sizes[-1])])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._model.compile(keras.optimizers.Adam(task.rate, epsilon=task.eps), loss, jit_compile=True)
        self._model.set_weights([array for layer in task.initial() for array in layer])

    def renew(self) -> None:
        """Zero the optimiser's slots."""
        for slot in self._model.optimizer.variables:
            if slot.name != "learning_rate":
                slot.assign(np.zeros(slot.shape, slot.dtype))

    def train(self, call: int) -> None:
        """Fit each epoch's rows in their order."""
        task = self._task
        for order in self._orders[call]:
            self._model.fit(task.x[order], task.y[order], batch_size=task.batch, epochs=1, shuffle=False, verbose=0)

    def weights(self) -> Weights:
        """Return kernels and biases."""
        flat = [np.asarray(array) for array in self._model.get_weights()]
        return list(zip(flat[::2], flat[1::2], strict=True))


if __name__ == "__main__":
    run(KerasFit, PACKAGES, NOTE)
