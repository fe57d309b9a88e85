"""The engine itself, by its public face: `Model.fit`."""

from __future__ import annotations

import math
from typing import Any

from bpengine.backend import Backend, backend_class, get_backend
from bpengine.benchmark.peers.peer import Peer, installed
from bpengine.benchmark.sample import Sample, Weights
from bpengine.model import Model

PACKAGES = {"numpy": ("numpy", "numba"), "jax": ("jax", "jaxlib"), "cupy": ("cupy-cuda13x", "numpy")}


class Engine(Peer):
    """`Model.fit`, timed by its own clock: the checks of the data that come first are not training."""

    note = "Model.fit, timed by History.rows_per_second"

    def __init__(self, sample: Sample, argument: str, device: str) -> None:
        super().__init__(sample, argument, device)
        self._model = Model(self.workload.network(), self.backend(argument, self.workload.dtype), self.workload.dtype)
        self._initial = {
            f"{i}.{name}": array
            for i, layer in enumerate(sample.initial)
            for name, array in zip(("weight", "bias"), layer, strict=True)
        }

    @classmethod
    def about(cls, argument: str, device: str) -> dict[str, Any]:
        """Return the versions of what the backend runs on, and its device."""
        backend = cls.backend(argument, "float32")
        versions = {name: installed(name) for name in ("bpengine", *PACKAGES[backend.name])}
        return {**super().about(argument, device), "versions": versions, "device": backend.device}

    @classmethod
    def backend(cls, name: str, precision: str) -> Backend:
        """Return the backend."""
        return get_backend(name, precision=precision)

    def reset(self) -> None:
        """Give the model its initial weights again; each fit starts its optimiser anew."""
        self._model.parameters = self._initial
        self._model.fits = 0  # the order of rows depends on it

    def train(self, steps: int) -> None:
        """Fit."""
        self.timed(steps)

    def timed(self, steps: int) -> float:
        """Fit, and return the seconds of the training loop."""
        work = self.workload
        history = self._model.fit(
            self.sample.x,
            self.sample.y,
            optimizer=work.rule(),
            batch_size=None if work.whole else work.batch,
            steps=steps,
            track_step_size=False,
        )
        return history.steps * work.batch / history.rows_per_second

    def weights(self) -> Weights:
        """Return the model's parameters."""
        named = self._model.parameters
        return [(named[f"{i}.weight"], named[f"{i}.bias"]) for i in range(len(self.sample.initial))]

    def device_memory(self) -> dict[str, int]:
        """Return what the backend counts."""
        return self._model.backend.memory()


class PlainNumpy(Engine):
    """The NumPy backend as it is without the extra "fast", installed or not."""

    @classmethod
    def backend(cls, name: str, precision: str) -> Backend:
        """Return a NumPy backend that waits for ever before it compiles."""
        plain: type[Backend] = type("PlainNumpyBackend", (backend_class(name),), {"patience": math.inf})
        return plain(precision)
