"""Running layers one after another, forward and backward; used by Network and by layers that hold layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from bpengine.errors import ConfigError, unknown
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.layers.contract import (
    PROVEN,
    check_initial,
    check_penalized,
    check_shapes,
    outputs_of,
    run_backward,
    run_forward,
    says_shapes,
    shapes_of,
)
from bpengine.layers.layer import Arrays, ArrayShapes, HostArrays, Layer, Run, Shapes, local, qualified
from bpengine.ops import Ops

MOST_NESTED = 64  # each level takes several nested calls, and Python allows a thousand


class Chained(Layer):
    """A layer whose parameters are those of a chain of layers, numbered."""

    layers: Sequence[Layer]

    def streams(self, rng: np.random.Generator) -> list[np.random.Generator]:
        """Return the random streams that the layers draw from."""
        return rng.spawn(len(self.layers))


class Extent(NamedTuple):
    """How deep layers are nested, and how many places there are: a shared layer counts at each of its places."""

    depth: int
    places: int


def check_layers(value: object, who: str) -> tuple[Layer, ...]:
    """Return the layers as a tuple; raise ConfigError for an empty list or for something that is no layer."""
    several = isinstance(value, Iterable) and not isinstance(value, (str, type))
    layers: tuple[Any, ...] = tuple(cast(Iterable[object], value)) if several else (value,)
    if not layers:
        raise ConfigError(f"{who} requires at least one layer, got none. For example: layers=[bp.Dense(10)].")
    for layer in layers:
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise ConfigError(f"{who} requires layers, got the class {layer.__name__}. Call it: {layer.__name__}(...).")
        if isinstance(layer, str):
            raise unknown("layer", layer, (kind.__name__ for kind in _kinds(Layer)))
        if not isinstance(layer, Layer):
            raise ConfigError(f"{who} requires layers, got {layer!r}. For example: bp.Dense(32, 'relu').")
    return layers


def extent(layer: Layer) -> Extent:
    """Return the depth and the number of places of a layer: 0 and 1, except for a layer that holds layers."""
    stated: Extent = getattr(layer, "_extent", Extent(0, 1))
    return stated


def extent_of(layers: Sequence[Layer], who: str) -> Extent:
    """Return the extent of a chain of these layers; raise ConfigError where they are nested too deep to be run."""
    inner = [extent(layer) for layer in layers]
    depth = 1 + max(one.depth for one in inner)
    if depth > MOST_NESTED:
        raise ConfigError(
            f"{who} requires layers nested at most {MOST_NESTED} deep, got {depth}. Put some one after another."
        )
    return Extent(depth, 1 + sum(one.places for one in inner))


def sizes(layers: Sequence[Layer], inputs: int) -> list[int]:
    """Return the number of features before each layer and after the last."""
    result = [inputs]
    for layer in layers:
        result.append(outputs_of(layer, result[-1]))
    return result


def init_chain(
    layers: Sequence[Layer], streams: Sequence[np.random.Generator], inputs: int, met: set[int] | None = None
) -> HostArrays:
    """Return initial parameters by full name; each layer draws from a stream of its own.

    met: the layers that have drawn already, by id; they do not draw again, since their parameters have the name of the
    first place.
    """
    params: HostArrays = {}
    for i, (layer, rng, size) in enumerate(zip(layers, streams, sizes(layers, inputs), strict=False)):
        if met is not None and id(layer) in met:
            continue
        params |= qualified(_init(layer, str(i), rng, size, met), str(i))
        if met is not None:
            met.add(id(layer))
    return params


def _init(layer: Layer, place: str, rng: np.random.Generator, size: int, met: set[int] | None) -> HostArrays:
    if type(layer) in PROVEN and isinstance(layer, Chained):
        return init_chain(layer.layers, layer.streams(rng), size, met)
    drawn = check_initial(layer, place, "its init to return the parameters", layer.init(rng, size))
    check_penalized(layer, place, drawn)
    if type(layer) not in PROVEN and says_shapes(layer):
        check_shapes(layer, place, shapes_of(layer, size).params, drawn)
    return drawn


def init_running_chain(layers: Sequence[Layer], inputs: int) -> HostArrays:
    """Return initial running statistics by full name."""
    running: HostArrays = {}
    statistics: dict[tuple[int, int], HostArrays] = {}  # of layers that occur more than once in this chain
    for i, (layer, size) in enumerate(zip(layers, sizes(layers, inputs), strict=False)):
        key = id(layer), size
        again = {n: np.array(a) for n, a in statistics[key].items()} if key in statistics else None
        statistics[key] = again if again is not None else _init_running(layer, str(i), size)
        running |= qualified(statistics[key], str(i))
    return running


def _init_running(layer: Layer, place: str, size: int) -> HostArrays:
    kept = check_initial(layer, place, "its init_running to return the statistics", layer.init_running(size))
    if type(layer) not in PROVEN and says_shapes(layer):
        check_shapes(layer, place, shapes_of(layer, size).running, kept)
    return kept


def shapes_chain(layers: Sequence[Layer], inputs: int) -> Shapes:
    """Return the shapes of parameters and running statistics by full name."""
    params, running = ArrayShapes(), ArrayShapes()
    for i, (layer, size) in enumerate(zip(layers, sizes(layers, inputs), strict=False)):
        shapes = shapes_of(layer, size)
        params |= qualified(shapes.params, str(i))
        running |= qualified(shapes.running, str(i))
    return Shapes(params, running)


def never_negative(layers: Sequence[Layer], name: str) -> bool:
    """Tell whether the running statistic of this full name, such as a variance, can never become negative in training."""
    place, _, rest = name.partition(".")
    if not place.isdecimal() or int(place) >= len(layers):
        return False
    layer = layers[int(place)]
    inside = isinstance(layer, Chained) and never_negative(layer.layers, rest)
    return inside or rest in layer._never_negative


@dataclass(slots=True, kw_only=True)  # not frozen: a step creates one for every layer, three times as fast
class LayerStep:
    """One layer in a forward pass: its input, its output, and its residual."""

    layer: Layer
    params: Arrays
    running: Arrays
    run: Run
    x: Array
    y: Array
    residual: Tree
    seen: Arrays


def layer_steps(
    layers: Sequence[Layer], ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run
) -> Iterator[LayerStep]:
    """Run the layers one after another and yield a step for each."""
    prefix = f"{run.place}." if run.place else ""
    for i, layer in enumerate(layers):
        here, own = run.at(prefix + str(i)), local(params, str(i))
        kept = local(running, str(i)) if running else running
        y, residual, seen = run_forward(layer, ops.at(here.place), own, kept, x, here)
        yield LayerStep(layer=layer, params=own, running=kept, run=here, x=x, y=y, residual=residual, seen=seen)
        x = y


def forward_chain(
    layers: Sequence[Layer], ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run
) -> tuple[Array, list[Any], Arrays]:
    """Return (y, one residual per layer, new running statistics)."""
    residuals, renewed = [], dict(running)
    for i, layer_step in enumerate(layer_steps(layers, ops, params, running, x, run)):
        x = layer_step.y
        residuals.append(layer_step.residual)
        renewed |= qualified(layer_step.seen, str(i)) if layer_step.seen else {}
    return x, residuals, renewed


def backward_chain(
    layers: Sequence[Layer], ops: Ops, residuals: Sequence[Any], dy: Array, place: str = "", *, need_dx: bool = True
) -> tuple[Array, Arrays]:
    """Return (dx, gradients by full name), from the last layer to the first."""
    prefix = f"{place}." if place else ""
    gradients: Arrays = {}
    for i in reversed(range(len(layers))):
        here = ops.at(prefix + str(i))
        dy, own = run_backward(layers[i], here, residuals[i], dy, need_dx=need_dx or i > 0)
        gradients |= qualified(own, str(i))
    return dy, gradients


def _kinds(kind: type[Layer]) -> Iterator[type[Layer]]:
    for sub in kind.__subclasses__():
        if not sub.__name__.startswith("_"):
            yield sub
        yield from _kinds(sub)


__all__ = ["backward_chain", "check_layers", "forward_chain", "init_chain", "local", "qualified", "sizes"]
