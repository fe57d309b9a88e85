"""One layer in a step: its input and output, their gradients, and the gradients of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.layers import Activation, Dense, Layer, Residual
from bpengine.layers.chain import local
from bpengine.layers.layer import HostArrays
from bpengine.layers.sharing import Shared, known_name
from bpengine.network import Network
from bpengine.ops import Call
from bpengine.output.json_values import json_object
from bpengine.output.rich_form import rows_table, title
from bpengine.output.tabular import TabularResult


@dataclass(frozen=True, kw_only=True)
class LayerTrace(TabularResult):
    """One layer in a step; arrays are (rows, units) unless said otherwise.

    place: "0", or "1.0" inside a Residual. x: input (rows, inputs). z: what goes into the activation; a: output. da, dz:
    the gradient of the loss with respect to a and z. Without an activation of its own z is a and dz is da. dx: with
    respect to x, None where it was not computed (the first layer). parameters, gradients: by local name ("weight"),
    gradients with penalties; a weight that is tied to another layer's is shown transposed, as it is used here. names: the
    parameters' first names ("0.weight"), where they are shared with another place. activation: its name, or None.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> layer = model.trace([[2.0]], [[5.0]]).layers["0"]
    >>> layer.z.item(), layer.dz.item()
    (6.0, 2.0)
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
    names: Mapping[str, str]

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.a.shape[1])

    def __str__(self) -> str:
        rows = len(self.a)
        return localized(
            f"layer {self.place} ({type(self.layer).__name__}): {count_of(self.units, 'unit')}, {count_of(rows, 'row')}"
        )

    def _html_parts(self) -> Iterator[str]:
        yield from (title(str(self)), rows_table(list(self.to_rows())))

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as plain values for JSON."""
        arrays = ("x", "z", "a", "da", "dz", "dx", "parameters", "gradients")
        plain = {name: getattr(self, name) for name in arrays}
        kind = type(self.layer).__name__
        return json_object({"place": self.place, "layer": kind, "activation": self.activation, **plain})

    def to_rows(self) -> Iterator[dict[str, Any]]:
        """Yield one dict per row of the batch and unit."""
        for row, unit in np.ndindex(self.a.shape):
            values = {name: float(getattr(self, name)[row, unit]) for name in ("z", "a", "da", "dz")}
            yield {"layer": self.place, "row": row, "unit": unit, **values}


@dataclass(frozen=True, kw_only=True)
class _LayerCalls:
    """The calls of a step by place, forward and backward, and each layer's inputs, outputs and gradients."""

    before: Mapping[str, list[Call]]
    after: Mapping[str, list[Call]]
    crossings: Mapping[str, Mapping[str, HostArray]]
    parameters: HostArrays
    gradients: HostArrays
    shared: Shared


def layer_traces(
    network: Network,
    calls: Sequence[Call],
    backward_start: int,
    crossings: Mapping[str, Mapping[str, HostArray]],
    parameters: HostArrays,
    gradients: HostArrays,
) -> dict[str, LayerTrace]:
    """Return every layer of a network by place; `backward_start` is the position in `calls` where the backward pass begins."""
    step_calls = _LayerCalls(
        before=_grouped(calls[:backward_start]),
        after=_grouped(calls[backward_start + 1 :]),
        crossings=crossings,
        parameters=network.spread(parameters),
        gradients=network.spread(gradients),
        shared=network.shared,
    )
    return {layer.place: layer for layer in _chain(network.layers, "", step_calls)}


def activation_of(layer: Layer) -> str | None:
    """Return the name of the activation a layer ends in, or None."""
    bends = layer.activation if isinstance(layer, Dense) else layer
    if isinstance(bends, Activation):
        return bends.name
    return type(bends).__name__ if isinstance(layer, Dense) else None


def _chain(layers: Sequence[Layer], start: str, step_calls: _LayerCalls) -> Iterator[LayerTrace]:
    """Yield the traces of layers one after another, those inside a Residual before it."""
    for i, layer in enumerate(layers):
        if isinstance(layer, Residual):
            yield from _chain(layer.layers, f"{start}{i}.", step_calls)
        yield _one(layer, f"{start}{i}", step_calls)


def _one(layer: Layer, place: str, step_calls: _LayerCalls) -> LayerTrace:
    crossed, ahead, back = (
        step_calls.crossings[place],
        step_calls.before.get(place, []),
        step_calls.after.get(place, []),
    )
    name, z, dz = activation_of(layer), crossed["a"], crossed["da"]
    if isinstance(layer, Dense):
        z, dz = ahead[0].result[0], back[-1].args[1]  # of the layer's sum, whatever its activation is
    elif name is not None:
        z, dz = ahead[-1].args[0], back[0].result
    own = [local(step_calls.parameters, place), local(step_calls.gradients, place)]
    if isinstance(layer, Residual):
        own = [{}, {}]  # those of the inner layers
    if is_tied(layer):
        own = [{**arrays, "weight": arrays["weight"].T} for arrays in own]
    names = {n: known_name(step_calls.shared, f"{place}.{n}") for n in own[0]}
    parameters, gradients = own
    x, a, da, dx = (crossed[part] for part in ("x", "a", "da", "dx"))
    return LayerTrace(
        place=place,
        layer=layer,
        activation=name,
        x=x,
        z=z,
        a=a,
        da=da,
        dz=dz,
        dx=dx,
        parameters=parameters,
        gradients=gradients,
        names=names,
    )


def is_tied(layer: Layer) -> bool:
    """Tell whether a layer's weight is another's, transposed."""
    return isinstance(layer, Dense) and layer.tie is not None


def _grouped(calls: Sequence[Call]) -> dict[str, list[Call]]:
    grouped: dict[str, list[Call]] = {}
    for call in calls:
        if call.kernel.kind not in ("helper", "update"):
            grouped.setdefault(call.place, []).append(call)
    return grouped
