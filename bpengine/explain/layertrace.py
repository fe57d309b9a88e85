"""What one layer did in a step: its input and output, what came back, and the gradients of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.layers import Activation, Dense, Layer, Residual
from bpengine.layers.chain import local
from bpengine.layers.layer import HostArrays
from bpengine.network import Network
from bpengine.ops import Call


@dataclass(frozen=True)
class LayerTrace:
    """One layer in a step; arrays are (rows, units) unless said otherwise.

    place: "0", or "1.0" inside a Residual. x: input (rows, inputs). z: what goes into the activation; a: output. da, dz:
    the gradient of the loss with respect to a and z. Without an activation of its own z is a and dz is da. dx: with
    respect to x, None where nobody asked for it (the first layer). parameters, gradients: by local name ("weight"),
    gradients with penalties. activation: its name, or None.
    """

    place: str
    layer: Layer
    activation: str | None
    x: HostArray
    z: HostArray
    a: HostArray
    da: HostArray
    dz: HostArray
    dx: HostArray | None
    parameters: HostArrays
    gradients: HostArrays

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.a.shape[1])

    def to_rows(self) -> Iterator[dict[str, Any]]:
        """Yield one dict per row of the batch and unit."""
        for row, unit in np.ndindex(self.a.shape):
            values = {name: float(getattr(self, name)[row, unit]) for name in ("z", "a", "da", "dz")}
            yield {"layer": self.place, "row": row, "unit": unit, **values}


@dataclass(frozen=True)
class _Walk:
    """The calls of a step by place."""

    before: Mapping[str, list[Call]]
    after: Mapping[str, list[Call]]
    parameters: HostArrays
    gradients: HostArrays


def layer_traces(
    network: Network, calls: Sequence[Call], turn: int, x: HostArray, parameters: HostArrays, gradients: HostArrays
) -> dict[str, LayerTrace]:
    """Return every layer of a network by place; `turn` is where in `calls` the backward pass begins."""
    by_place = _Walk(_grouped(calls[:turn]), _grouped(calls[turn + 1 :]), parameters, gradients)
    return {layer.place: layer for layer in _chain(network.layers, "", x, calls[turn].result, by_place)}


def activation_of(layer: Layer) -> str | None:
    """Return the name of the activation a layer ends in, or None."""
    if isinstance(layer, Activation):
        return layer.name
    return layer.activation.name if isinstance(layer, Dense) else None


def _chain(layers: Sequence[Layer], start: str, x: HostArray, dy: HostArray, walk: _Walk) -> list[LayerTrace]:
    """Return the traces of layers one after another, from the input x of the first and the gradient of the last's output.

    A layer that called nothing (dropout that is switched off) passes its input on and its gradient back.
    """
    places = [start + str(i) for i in range(len(layers))]
    inputs, outputs = [], []
    for place in places:
        inputs.append(x)
        x = _output(walk.before[place][-1]) if place in walk.before else x
        outputs.append(x)
    found: list[LayerTrace] = []
    for layer, place, x, a in reversed(list(zip(layers, places, inputs, outputs, strict=True))):
        inner = _chain(layer.layers, f"{place}.", x, dy, walk) if isinstance(layer, Residual) else []
        made, dy = _one(layer, place, x, a, dy, walk)
        found = [*inner, made, *found]
    return found


def _one(layer: Layer, place: str, x: HostArray, a: HostArray, da: HostArray, walk: _Walk) -> tuple[LayerTrace, Any]:
    ahead, back = walk.before.get(place, []), walk.after.get(place, [])
    name, z, dz = activation_of(layer), a, da
    if name is not None and ahead and ahead[-1].kernel.name == name:
        z, dz = ahead[-1].args[0], back[0].result
    own = local(walk.parameters, place), local(walk.gradients, place)
    if isinstance(layer, Residual):
        own = {}, {}  # those of the inner layers
    dx = _input_gradient(layer, back[-1]) if back else da
    return LayerTrace(place, layer, name, x, z, a, da, dz, dx, *own), dx


def _grouped(calls: Sequence[Call]) -> dict[str, list[Call]]:
    grouped: dict[str, list[Call]] = {}
    for call in calls:
        if call.kernel.kind not in ("helper", "update"):
            grouped.setdefault(call.place, []).append(call)
    return grouped


def _output(call: Call) -> HostArray:
    made: HostArray = call.result[0]
    return made


def _input_gradient(layer: Layer, call: Call) -> HostArray | None:
    """Return what a layer's last backward call made of the gradient; a Residual's is the sum of both ways, if asked for."""
    if isinstance(layer, Residual) and call.function.endswith("_bwd"):
        return None
    made: HostArray | None = call.result[0] if isinstance(call.result, tuple) else call.result
    return made
