"""Common functions of the examples: a forward and backward pass in full, kernels on lists, slopes by central differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.backend import ArrayLike, HostArray, get_backend
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import HostArrays
from bpengine.ops import Ops


class Desk:
    """A float64 backend with helpers: `ops` are its kernels, `array` copies numbers to it, `host` copies them back."""

    def __init__(self, backend: str | bp.Backend) -> None:
        self.backend = get_backend(backend, precision="float64")
        self.ops: Ops = self.backend.ops()

    def array(self, values: ArrayLike) -> Array:
        """Bring numbers to the backend."""
        return self.backend.asarray(np.asarray(values, dtype=float))

    def host(self, array: Array) -> HostArray:
        """Return an array as a NumPy array."""
        return np.array(self.backend.to_numpy(array))

    def number(self, array: Array) -> float:
        """Return an array of one element as a number."""
        return float(self.host(array).reshape(()))

    def model(self, network: bp.Network) -> bp.Model:
        """Return a float64 model on this backend."""
        return bp.Model(network, self.backend, "float64")


@dataclass(kw_only=True)
class Pass:
    """The numbers of a forward and a backward pass: for each layer z, a, the sum of gradient times weight da, and dz."""

    loss: float = 0.0
    gradients: HostArrays = field(default_factory=dict)
    z: dict[int, HostArray] = field(default_factory=dict)
    a: dict[int, HostArray] = field(default_factory=dict)
    da: dict[int, HostArray] = field(default_factory=dict)
    dz: dict[int, HostArray] = field(default_factory=dict)


def look(model: bp.Model, x: ArrayLike, y: ArrayLike) -> Pass:
    """Run one pass of a model, kernel by kernel, and keep the inputs and outputs of every activation."""
    traced = model.trace(x, y)
    layers = {int(place): layer for place, layer in traced.layers.items() if place.isdigit()}
    z, a, da, dz = ({i: getattr(layer, name) for i, layer in layers.items()} for name in ("z", "a", "da", "dz"))
    return Pass(loss=traced.loss, gradients=traced.gradients, z=z, a=a, da=da, dz=dz)


def fit(model: bp.Model, x: ArrayLike, y: ArrayLike, **settings: Any) -> bp.History:
    """Train a model; Ctrl-C, which only stops a fit, ends the example."""
    history = model.fit(x, y, **settings)
    if history.stopped_by == "interrupted":
        raise KeyboardInterrupt
    return history


def slopes(model: bp.Model, x: ArrayLike, y: ArrayLike, step: float) -> HostArrays:
    """Return the slope of the loss in every parameter, by central differences of forward passes."""
    start = model.parameters
    gradients = {name: np.zeros_like(value) for name, value in start.items()}
    for name, value in start.items():
        for place in np.ndindex(value.shape):
            ends = []
            for move in (step, -step):
                moved = value.copy()
                moved[place] += move
                model.parameters = {name: moved}
                ends.append(model.evaluate(x, y)["loss"])
            gradients[name][place] = (ends[0] - ends[1]) / (2 * step)
        model.parameters = {name: value}
    return gradients


def relative(a: HostArrays, b: HostArrays) -> float:
    """Return |a - b| / (|a| + |b|) over all arrays together, as gradient checks of the literature do."""
    left = np.concatenate([a[name].ravel() for name in a])
    right = np.concatenate([b[name].ravel() for name in a])
    return float(np.linalg.norm(left - right) / (np.linalg.norm(left) + np.linalg.norm(right)))
