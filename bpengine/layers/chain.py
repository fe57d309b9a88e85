"""Running layers one after another, forward and backward; used by Network and by layers that hold layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bpengine.errors import ConfigError, unknown
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, HostArrays, Layer, Run, local, qualified
from bpengine.ops import Ops


def check_layers(given: Any, who: str) -> tuple[Layer, ...]:
    """Return the layers as a tuple; raise ConfigError for an empty list or for something that is no layer."""
    several = isinstance(given, Iterable) and not isinstance(given, (str, type))
    layers: tuple[Any, ...] = tuple(given) if several else (given,)
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


def sizes(layers: Sequence[Layer], inputs: int) -> list[int]:
    """Return the number of features before each layer and after the last."""
    result = [inputs]
    for layer in layers:
        result.append(layer.outputs(result[-1]))
    return result


def init_chain(layers: Sequence[Layer], seed: Sequence[int], inputs: int) -> tuple[HostArrays, HostArrays]:
    """Return initial parameters and running statistics by full name; each layer draws from a generator of its own."""
    params: HostArrays = {}
    running: HostArrays = {}
    for i, (layer, size) in enumerate(zip(layers, sizes(layers, inputs), strict=False)):
        params |= qualified(layer.init(np.random.default_rng([*seed, i]), size), str(i))
        running |= qualified(layer.init_running(size), str(i))
    return params, running


def forward_chain(
    layers: Sequence[Layer], ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run
) -> tuple[Array, list[Any], Arrays]:
    """Return (y, one residual per layer, new running statistics)."""
    prefix = f"{run.place}." if run.place else ""
    residuals, renewed = [], dict(running)
    for i, layer in enumerate(layers):
        place = prefix + str(i)
        here = local(running, str(i)) if running else running
        x, residual, seen = layer.forward(ops.at(place), local(params, str(i)), here, x, run.at(place))
        residuals.append(residual)
        renewed |= qualified(seen, str(i)) if seen else {}
    return x, residuals, renewed


def backward_chain(
    layers: Sequence[Layer], ops: Ops, residuals: Sequence[Any], dy: Array, place: str = "", *, need_dx: bool = True
) -> tuple[Array, Arrays]:
    """Return (dx, gradients by full name), from the last layer to the first."""
    prefix = f"{place}." if place else ""
    gradients: Arrays = {}
    for i in reversed(range(len(layers))):
        dy, own = layers[i].backward(ops.at(prefix + str(i)), residuals[i], dy, need_dx=need_dx or i > 0)
        gradients |= qualified(own, str(i))
    return dy, gradients


def _kinds(kind: type[Layer]) -> Iterator[type[Layer]]:
    for sub in kind.__subclasses__():
        if not sub.__name__.startswith("_"):
            yield sub
        yield from _kinds(sub)


__all__ = ["backward_chain", "check_layers", "forward_chain", "init_chain", "local", "qualified", "sizes"]
