"""The engine itself, through its public API: `Model.fit`."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from bpengine.backend import Backend, HostArray, State, backend_class, get_backend
from bpengine.benchmark.inputs import Sample, Weights
from bpengine.benchmark.peers.peer import Peer, installed
from bpengine.model import Model

JAX = ("jax", "jaxlib", "jax-cuda13-plugin", "nvidia-cuda-runtime")
PACKAGES = {"numpy": ("numpy", "llvmlite"), "jax": JAX, "cupy": ("cupy-cuda13x", "numpy")}


class Engine(Peer):
    """`Model.fit`, timed by its own clock, which excludes the checks of the data before training."""

    note = "Model.fit, timed by History.rows_per_second"

    def __init__(self, sample: Sample, argument: str, device: str) -> None:
        super().__init__(sample, argument, device)
        backend = self.backend(argument, self.workload.dtype)
        self._model = Model(self.workload.network(), backend, self.workload.dtype)
        self._events = CupyEvents(backend) if backend.name == "cupy" else None
        self._initial = {
            f"{i}.{name}": array
            for i, layer in enumerate(sample.initial)
            for name, array in zip(("weight", "bias"), layer, strict=True)
        }

    @classmethod
    def about(cls, argument: str, device: str) -> dict[str, Any]:
        """Return the versions of the backend's libraries, and its device."""
        backend = cls.backend(argument, "float32")
        versions = {name: installed(name) for name in ("bpengine", *PACKAGES[backend.name])}
        if backend.name == "cupy":
            runtime = import_module("cupy").cuda.runtime.runtimeGetVersion()
            versions["CUDA"] = f"{runtime // 1000}.{runtime % 1000 // 10}"
        return {**super().about(argument, device), "versions": versions, "device": backend.device}

    @classmethod
    def backend(cls, argument: str, dtype: str) -> Backend:
        """Return the backend; the argument is "NAME", or "NAME:PRECISION" for another precision than the dtype's."""
        name, _, precision = argument.partition(":")
        return get_backend(name, precision=precision or dtype)

    def compile_ahead(self) -> bool:
        """Replace the backend by one that compiles a step, and all that only a long fit needs, before the first run."""
        backend = self._model.backend
        if backend.name != "numpy" or not 0 <= backend.patience < math.inf:
            return False
        at_once: type[Backend] = type("CompilingBackend", (type(backend),), {"patience": -math.inf})
        self._model = Model(self.workload.network(), at_once(self.workload.dtype), self.workload.dtype)
        return True

    def reset(self) -> None:
        """Restore the model's initial weights; each fit starts with a new optimiser."""
        self._model.parameters = self._initial
        self._model.fits = 0  # the order of rows depends on it

    def train(self, steps: int) -> None:
        """Fit."""
        self.timed(steps)

    def timed(self, steps: int) -> float:
        """Fit, and return the seconds of the training loop."""
        work = self.workload
        if self._events:
            self._events.start()
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

    def device_seconds(self) -> float | None:
        """Return the seconds from the start of the first epoch to the end of the last one, by CuPy's events."""
        return self._events.seconds() if self._events else None

    def device_memory(self) -> dict[str, int]:
        """Return the bytes that the backend reports."""
        return self._model.backend.memory()


class PlainNumpy(Engine):
    """The NumPy backend without compiled epochs, whether the extra "fast" is installed or not."""

    @classmethod
    def backend(cls, argument: str, dtype: str) -> Backend:
        """Return a NumPy backend that never compiles."""
        plain: type[Backend] = type("PlainNumpyBackend", (backend_class(argument),), {"patience": math.inf})
        return plain(dtype)


class CupyEvents:
    """CUDA events around the epochs that a backend runs: one before the first of a fit, one after each.

    They are recorded on the current stream. An epoch that runs on other streams ends with its reports on the host, so the
    event after it also comes after all its work there.
    """

    def __init__(self, backend: Backend) -> None:
        events = import_module("cupy").cuda
        self._begin, self._end, self._elapsed = events.Event(), events.Event(), events.get_elapsed_time
        self._started = False
        run = backend.run_epoch

        def watched(*args: Any, **options: Any) -> tuple[State, dict[str, HostArray]]:
            if not self._started:
                self._begin.record()
                self._started = True
            result = run(*args, **options)
            self._end.record()
            return result

        vars(backend)["run_epoch"] = watched

    def start(self) -> None:
        """Discard the events: the next epoch is the first of a fit."""
        self._started = False

    def seconds(self) -> float:
        """Return the seconds between the two events."""
        self._end.synchronize()
        return float(self._elapsed(self._begin, self._end)) / 1e3
