"""An overview of layers: the description, outputs and parameters of each. A separate file: it runs no step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from bpengine.layers.activation import Activation
from bpengine.layers.chain import Chained, sizes
from bpengine.layers.dense import Dense
from bpengine.layers.layer import Layer


class LayerOverview(NamedTuple):
    """One layer: its place, its description, its output features, and its own parameters.

    shared_with: the place with which it shares parameters, "" for none.
    """

    place: str
    kind: str
    outputs: int
    parameters: int
    shared_with: str = ""


def overviews(
    layers: Sequence[Layer], inputs: int, params: Mapping[str, tuple[int, ...]], shared: Sequence[tuple[str, str]]
) -> list[LayerOverview]:
    """Return one line per layer; a layer that holds layers is one line. params: the shapes of parameters by full name."""
    features = sizes(layers, inputs)[1:]
    known_by = {place.partition(".")[0]: owner.partition(".")[0] for place, owner in shared}
    counts = {str(i): 0 for i in range(len(layers))}
    for name, shape in params.items():
        counts[name.partition(".")[0]] += prod(shape)
    return [
        LayerOverview(str(i), in_words(layer), out, counts[str(i)], known_by.get(str(i), ""))
        for i, (layer, out) in enumerate(zip(layers, features, strict=True))
    ]


def in_words(layer: Layer) -> str:
    """Return the description of a layer, without its size.

    >>> import bpengine as bp
    >>> in_words(bp.Dense(3, "tanh")), in_words(bp.Residual([bp.Dense(2), bp.BatchNorm()]))
    ('Dense, tanh', 'Residual of Dense and BatchNorm')
    """
    name = type(layer).__name__
    if isinstance(layer, Dense):
        bent = layer.activation
        after = bent.name if isinstance(bent, Activation) else in_words(bent)
        return name if after == "identity" else f"{name}, {after}"
    if isinstance(layer, Activation):
        return layer.name
    if isinstance(layer, Chained):
        return f"{name} of {' and '.join(in_words(inner) for inner in layer.layers)}"
    return name
