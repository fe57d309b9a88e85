"""Layer: the interface of everything a network is built from.

A layer is a frozen description. It holds no arrays and no mathematics: parameters come in as a dict, results go out, and
whatever is computed is a call of `ops`. To add one, subclass `Layer` and give the methods below; nothing is registered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bpengine.errors import ConfigError
from bpengine.kernels._kernel import Array
from bpengine.ops import Ops

Arrays = dict[str, Array]
HostArrays = dict[str, np.ndarray[Any, Any]]


class Run(NamedTuple):
    """How a forward pass is run: training or not, which layer this is, and the counter that dropout masks come from."""

    training: bool = False
    counter: Array = None  # uint32 (2,): seed and step; needed when training with dropout
    place: str = ""

    def at(self, place: str) -> Run:
        """Return the same run inside another layer."""
        return Run(self.training, self.counter, place)


@dataclass(frozen=True)
class Layer:
    """Base of all layers; also a correct layer itself: it has no parameters and passes everything through."""

    def outputs(self, inputs: int) -> int:
        """Return the number of features that come out when `inputs` features go in."""
        return inputs

    def init(self, rng: np.random.Generator, inputs: int) -> HostArrays:
        """Return the initial parameters by local name ("weight"), in float64."""
        return {}

    def init_running(self, inputs: int) -> HostArrays:
        """Return the initial running statistics by local name: kept by training, not trained."""
        return {}

    def penalized(self) -> dict[str, str | None]:
        """Return the parameters that penalties apply to, each with its bias row: None, "first" or "last"."""
        return {}

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        """Return (y, residual, new running statistics) for x (batch, inputs)."""
        return x, None, running

    def backward(self, ops: Ops, residual: Any, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return (dx, gradients by the parameters' local names); dx may be None when it is not needed."""
        return dy, {}


def positive_whole(value: Any, who: str, what: str) -> int:
    """Return `value` as an int, or raise ConfigError when it is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigError(f"{who} requires {what} to be a whole number of at least 1, got {value!r}.")
    return int(value)


def local(arrays: Arrays, place: str) -> Arrays:
    """Return the arrays of one layer under their local names: "0.weight" becomes "weight"."""
    start = place + "."
    return {name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)}


def qualified(arrays: Arrays, place: str) -> Arrays:
    """Return local arrays under their full names: "weight" becomes "0.weight"."""
    return {f"{place}.{name}": array for name, array in arrays.items()}


def rebind(residual: Any, new: dict[int, Array]) -> Any:
    """Return a residual in which arrays are exchanged by identity: `new` maps id(old array) to the new array."""
    if id(residual) in new:
        return new[id(residual)]
    if isinstance(residual, tuple):
        parts = [rebind(part, new) for part in residual]
        return type(residual)(*parts) if hasattr(residual, "_fields") else tuple(parts)
    return residual


__all__ = ["Arrays", "HostArrays", "Layer", "Run", "local", "positive_whole", "qualified", "rebind"]
