"""Shared parameters: the same layer object in two places of a network is one set of parameters, and so is a tied weight.

The first place gives the parameters their names. A network's forward pass passes the same arrays to all places, and its
backward pass adds the gradients of all places. The layers themselves need no code for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from bpengine.errors import BpError, ConfigError
from bpengine.layers.activation import Activation
from bpengine.layers.chain import sizes
from bpengine.layers.contract import shapes_of
from bpengine.layers.dense import BENT, Dense
from bpengine.layers.layer import Arrays, Layer, Shapes
from bpengine.layers.residual import Residual
from bpengine.ops import Ops

Value = TypeVar("Value")
Shared = tuple[tuple[str, str], ...]  # (a place or a name, the place or name whose parameters it uses)


def shared_places(layers: Sequence[Layer], inputs: int) -> Shared:
    """Return pairs of places or names that share parameters: tied weights first, then places in the order of the forward pass.

    Raises ConfigError for a layer in two places with inputs of different sizes, and for a tie to a layer that does not come
    before it or whose weight does not fit.
    """
    first: dict[int, tuple[str, int]] = {}
    ties: list[tuple[str, str]] = []
    places: list[tuple[str, str]] = []
    known: dict[tuple[int, int], bool] = {}
    for place, layer, size in walk(layers, inputs, "", first):
        if id(layer) in first:
            owner, there = first[id(layer)]
            _require_same(layer, place, size, owner, there)
            places += [(place, owner)] * _has_parameters(layer, size, known)
            continue
        first[id(layer)] = place, size
        if isinstance(layer, Dense) and layer.tie is not None:
            ties.append((f"{place}.weight", f"{_tied(layer, place, size, first)}.weight"))
    return (*ties, *places)


def spread(shared: Shared, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return parameters by the names of all places: the same arrays under several names."""
    by_name = dict(values)
    for place, owner in shared:
        by_name |= {place + name[len(owner) :]: value for name, value in list(by_name.items()) if _is_of(name, owner)}
    return by_name


def gather(shared: Shared, ops: Ops, gradients: Arrays) -> Arrays:
    """Return gradients by the parameters' first names: the sum over all places."""
    by_owner = dict(gradients)
    for place, owner in reversed(shared):
        for name in [name for name in by_owner if _is_of(name, place)]:
            known, gradient = owner + name[len(place) :], by_owner.pop(name)
            by_owner[known] = ops.at("sharing").add_fwd(by_owner[known], gradient)[0] if known in by_owner else gradient
    return by_owner


def owned(shared: Shared, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return parameters by their first names, without the other names of shared ones."""
    places = {place for place, _ in shared}
    return {name: value for name, value in values.items() if places.isdisjoint(_prefixes(name))}


def known_name(shared: Shared, name: str) -> str:
    """Return the first name of a parameter, for any of its names."""
    for place, owner in reversed(shared):
        if _is_of(name, place):
            name = owner + name[len(place) :]
    return name


def _prefixes(name: str) -> Iterator[str]:
    """Yield a name and every place that contains it: "1.0.weight", "1.0", "1"."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _is_of(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def walk(layers: Sequence[Layer], inputs: int, start: str, seen: Mapping[int, Any]) -> Iterator[tuple[str, Layer, int]]:
    """Yield every layer with its place and inputs; the layers inside a repeated layer are yielded once."""
    for i, (layer, size) in enumerate(zip(layers, sizes(layers, inputs), strict=False)):
        again, place = id(layer) in seen, f"{start}{i}"
        yield place, layer, size
        if isinstance(layer, Residual) and not again:
            yield from walk(layer.layers, size, f"{place}.", seen)
        if isinstance(layer, Dense) and not again and not isinstance(layer.activation, Activation):
            yield f"{place}.{BENT}", layer.activation, layer.units


def _require_same(layer: Layer, place: str, size: int, owner: str, there: int) -> None:
    shapes = _shapes(layer, size) if size != there else None
    if size == there or (shapes is not None and shapes == _shapes(layer, there)):
        return
    kind = type(layer).__name__
    raise ConfigError(
        f"layer {place} is the same object as layer {owner} ({kind}) and shares its parameters, which requires as many "
        f"inputs, got {size} here and {there} there. For parameters of its own make a second layer: {kind}(...)."
    )


def _has_parameters(layer: Layer, inputs: int, known: dict[tuple[int, int], bool]) -> bool:
    """Tell whether a layer has parameters; `known` caches the answers."""
    key = id(layer), inputs
    if key not in known:
        if type(layer) is Residual:
            inner = zip(layer.layers, sizes(layer.layers, inputs), strict=False)
            known[key] = any(_has_parameters(one, size, known) for one, size in inner)
        else:
            shapes = _shapes(layer, inputs)
            known[key] = shapes is None or bool(shapes.params)
    return known[key]


def _shapes(layer: Layer, inputs: int) -> Shapes | None:
    """Return the shapes of a layer's parameters and statistics, or None when it accepts no such number of inputs."""
    try:
        return shapes_of(layer, inputs)
    except BpError:
        return None


def _tied(layer: Dense, place: str, size: int, first: Mapping[int, tuple[str, int]]) -> str:
    """Return the place of the layer whose weight is used."""
    if id(layer.tie) not in first:
        raise ConfigError(
            f"layer {place} requires the layer that its weight is tied to in the same network, before it, got none there. "
            "Give tie= the same object that is in the list of layers."
        )
    owner, inputs = first[id(layer.tie)]
    assert layer.tie is not None
    if (size, layer.units) != (layer.tie.units, inputs):
        raise ConfigError(
            f"layer {place} requires {layer.tie.units} inputs and {inputs} units, the transpose of layer {owner}'s weight "
            f"({inputs}, {layer.tie.units}), got {size} inputs and {layer.units} units."
        )
    return owner
