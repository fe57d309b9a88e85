"""The base of all peers: a peer trains a sample from its initial weights, and returns its weights."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from bpengine.benchmark.inputs import Sample, Weights


class Peer(ABC):
    """One library's way to train a sample. The constructor copies the arrays to its device.

    packages: the distributions whose versions a record names. note: how the library is used, where there is a choice.
    argument: that of the contender, "NAME:PRECISION"; either part may be omitted.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    note: ClassVar[str] = ""

    def __init__(self, sample: Sample, argument: str, device: str) -> None:
        self.sample, self.workload, self.device = sample, sample.workload, device
        self.precision = argument.partition(":")[2] or "full"

    @classmethod
    def about(cls, argument: str, device: str) -> dict[str, Any]:
        """Return versions, note, and other facts that decide the speed."""
        return {"versions": {name: installed(name) for name in cls.packages}, "note": cls.note}

    def compile_ahead(self) -> bool:
        """Compile now what a long training compiles during its steps, so that no turn waits; return whether there is any."""
        return False

    @abstractmethod
    def reset(self) -> None:
        """Reset to the initial weights and a new optimiser; this is not timed."""

    @abstractmethod
    def train(self, steps: int) -> None:
        """Train so many steps (whole epochs) and wait until they have been computed."""

    @abstractmethod
    def weights(self) -> Weights:
        """Return the weights as NumPy arrays."""

    def timed(self, steps: int) -> float:
        """Train and return the seconds that it took."""
        began = time.perf_counter()
        self.train(steps)
        return time.perf_counter() - began

    def device_seconds(self) -> float | None:
        """Return the seconds of the last turn by the device's own events, None where the library has none."""
        return None

    def loss(self) -> float:
        """Return the loss of the current weights."""
        return self.sample.loss(self.weights())

    def device_memory(self) -> dict[str, int]:
        """Return the bytes on the device, "in_use" and "peak", where the library reports them."""
        return {}


def installed(name: str) -> str | None:
    """Return the version of a distribution, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
