"""What the examples share: a forward and backward pass laid open, kernels fed with lists, slopes by central differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.backend import HostArray, get_backend
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, HostArrays, Run
from bpengine.ops import Call, ObservedOps, Ops


class Desk:
    """A backend in float64 to work on: `ops` are its kernels, `array` brings numbers in, `host` fetches them."""

    def __init__(self, backend: str | bp.Backend) -> None:
        self.backend = get_backend(backend, precision="float64")
        self.ops: Ops = self.backend.ops()

    def array(self, values: Any) -> Array:
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


@dataclass
class Pass:
    """A forward and a backward pass, laid open: for each layer z, a, the sum of gradient times weight da, and dz."""

    loss: float = 0.0
    gradients: HostArrays = field(default_factory=dict)
    z: dict[int, HostArray] = field(default_factory=dict)
    a: dict[int, HostArray] = field(default_factory=dict)
    da: dict[int, HostArray] = field(default_factory=dict)
    dz: dict[int, HostArray] = field(default_factory=dict)


def look(model: bp.Model, x: Any, y: Any) -> Pass:
    """Run one pass of a model, kernel by kernel, and keep what goes into and comes out of every activation."""
    desk, seen = Desk(model.backend), Pass()

    def observe(call: Call) -> None:
        if call.kernel.kind == "activation" and call.place.isdigit():
            before, after = (seen.z, seen.a) if call.function.endswith("_fwd") else (seen.da, seen.dz)
            result = call.result[0] if call.function.endswith("_fwd") else call.result
            before[int(call.place)] = desk.host(call.args[0] if call.function.endswith("_fwd") else call.args[1])
            after[int(call.place)] = desk.host(result)

    params: Arrays = {name: desk.array(value) for name, value in model.parameters.items()}
    targets = np.asarray(y)
    target = desk.backend.asarray(targets) if targets.dtype.kind in "iu" else desk.array(targets)
    loss, gradients, _ = model.network.loss_and_gradients(
        ObservedOps(desk.ops, observe), params, {}, desk.array(x), target, None, Run(True)
    )
    seen.loss = desk.number(loss)
    seen.gradients = {name: desk.host(dw) for name, dw in gradients.items()}
    return seen


def fit(model: bp.Model, x: Any, y: Any, **settings: Any) -> bp.History:
    """Train a model; Ctrl-C, which a fit survives, ends the example."""
    history = model.fit(x, y, **settings)
    if history.stopped_by == "interrupted":
        raise KeyboardInterrupt
    return history


def slopes(model: bp.Model, x: Any, y: Any, step: float) -> HostArrays:
    """Return the slope of the loss in every parameter, by central differences of forward passes."""
    start = model.parameters
    found = {name: np.zeros_like(value) for name, value in start.items()}
    for name, value in start.items():
        for place in np.ndindex(value.shape):
            ends = []
            for move in (step, -step):
                moved = value.copy()
                moved[place] += move
                model.parameters = {name: moved}
                ends.append(model.evaluate(x, y)["loss"])
            found[name][place] = (ends[0] - ends[1]) / (2 * step)
        model.parameters = {name: value}
    return found


def relative(a: HostArrays, b: HostArrays) -> float:
    """Return |a - b| / (|a| + |b|) over all arrays together, as gradient checks of the literature do."""
    left = np.concatenate([a[name].ravel() for name in a])
    right = np.concatenate([b[name].ravel() for name in a])
    return float(np.linalg.norm(left - right) / (np.linalg.norm(left) + np.linalg.norm(right)))
