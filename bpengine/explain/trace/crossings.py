"""Record the inputs and outputs of every layer, forward and backward, also of a layer that calls no kernel."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from bpengine.kernels._kernel import Array
from bpengine.layers import Layer, Residual
from bpengine.layers.layer import Arrays, Run
from bpengine.network import Network
from bpengine.ops import Ops

Crossings = dict[str, dict[str, Array]]  # place -> x, a, da, dx of the layer there


def watched(network: Network, crossings: Crossings) -> Network:
    """Return the same network; when it is run, its layers write what they take and give into `crossings`, by place."""
    wrapped: dict[int, Layer] = {}
    again = copy(network)
    object.__setattr__(again, "layers", tuple(_wrapped(layer, crossings, wrapped) for layer in network.layers))
    return again


def _wrapped(layer: Layer, crossings: Crossings, known: dict[int, Layer]) -> Layer:
    """Return a layer that does what `layer` does and is called as it is in messages; one object stays one object."""
    if id(layer) not in known:
        inner = layer
        if isinstance(layer, Residual):
            inner = replace(layer, layers=[_wrapped(part, crossings, known) for part in layer.layers])
        known[id(layer)] = type(type(layer).__name__, (_Watched,), {})(inner, crossings)
    return known[id(layer)]


@dataclass(frozen=True, eq=False)
class _Watched(Layer):
    layer: Layer
    crossings: Crossings

    def outputs(self, inputs: int) -> int:
        return self.layer.outputs(inputs)

    def penalized(self) -> dict[str, str | None]:
        return self.layer.penalized()

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        result = self.layer.forward(ops, params, running, x, run)
        if not isinstance(result, tuple) or len(result) != 3:
            return result  # it is refused by who called, in words
        y, residual, seen = result
        self.crossings[run.place] = {"x": x, "a": y}
        return y, (run.place, residual), seen

    def backward(self, ops: Ops, residual: Any, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        place, own = residual
        result = self.layer.backward(ops, own, dy, need_dx=need_dx)
        if isinstance(result, tuple) and result:
            self.crossings[place] |= {"da": dy, "dx": result[0]}
        return result
