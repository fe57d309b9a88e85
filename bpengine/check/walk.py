"""A network's step layer by layer, with what each layer gives back checked for number and shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.check.problem import counter
from bpengine.errors import BpError, ShapeError
from bpengine.kernels._kernel import Array
from bpengine.layers import Layer
from bpengine.layers.chain import local
from bpengine.layers.layer import Arrays, Run
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.training.inputs import Rows


@dataclass(frozen=True)
class Stage:
    """One layer in a step: its input, output, and the gradient that came back to it."""

    layer: Layer
    params: Arrays
    running: Arrays
    run: Run
    x: Array
    y: Array
    residual: Any


def stages(network: Network, ops: Ops, params: Arrays, running: Arrays, x: Array, seed: int) -> list[Stage]:
    """Return every layer with what goes in and out, in training mode at step 0 of `seed`."""
    found, run, params = [], Run(True, counter(ops.xp, seed)), network.spread(params)
    for i, layer in enumerate(network.layers):
        here, own, kept = run.at(str(i)), local(params, str(i)), local(running, str(i))
        with named(name_of(layer, here.place), "forward"):
            y, residual, _ = layer.forward(ops.at(here.place), own, kept, x, here)
        found.append(Stage(layer, own, kept, here, x, y, residual))
        x = y
    return found


def backward(walked: list[Stage], ops: Ops, dy: Array) -> list[Array]:
    """Return the gradient with respect to each layer's output, first layer first.

    Raises ShapeError naming the layer whose backward returns the wrong number or shape of gradients, with both.
    """
    cotangents = []
    for stage in reversed(walked):
        cotangents.append(dy)
        with named(name_of(stage.layer, stage.run.place), "backward"):
            result = stage.layer.backward(ops.at(stage.run.place), stage.residual, dy)
        dy = checked(stage, result)[0]
    return cotangents[::-1]


def cotangent(network: Network, ops: Ops, params: Arrays, y: Array, rows: Rows) -> Array:
    """Return the gradient of the loss with respect to the network's outputs."""
    target, *weights = targets(rows)
    return network.loss_and_cotangent(ops, params, y, target, weights[0] if weights else None)[1]


def targets(rows: Rows) -> list[Array]:
    """Return the target and, when there are any, the weights, as a loss is given them in float64."""
    return [np.asarray(a, dtype=d) for a, d in zip(rows.arrays, rows.dtypes("float64"), strict=True)][1:]


def checked(stage: Stage, result: Any) -> tuple[Array, Arrays]:
    """Return what a layer's backward gave, or raise ShapeError for the wrong number or shape."""
    who = name_of(stage.layer, stage.run.place)
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
        raise ShapeError(
            f"{who} requires its backward to return (dx, gradients by parameter name), got {_kind(result)}. "
            "A layer without parameters returns (dx, {})."
        )
    dx, gradients = result
    if gradients.keys() != stage.params.keys():
        raise ShapeError(
            f"{who} requires its backward to return {len(stage.params)} gradients ({_list(stage.params)}), "
            f"got {len(gradients)} ({_list(gradients)}). Each parameter of `init` needs one, under the same name."
        )
    wanted = {"x": stage.x, **stage.params}
    for name, value in {"x": dx, **gradients}.items():
        if getattr(value, "shape", None) != wanted[name].shape:
            raise ShapeError(f"{who} requires {of_shape(name, value, wanted[name].shape)}")
    return dx, gradients


def of_shape(name: str, value: Any, wanted: tuple[int, ...]) -> str:
    """Return the end of a sentence: of which shape a gradient must be, of which it is, and what that looks like."""
    got = getattr(value, "shape", None)
    hint = "That is its transpose." if got == wanted[::-1] else "A gradient has the shape of what it belongs to."
    return f"a gradient of shape {wanted} for {name}, got {_kind(value) if got is None else got}. {hint}"


@contextmanager
def named(who: str, method: str) -> Iterator[None]:
    """Let whatever code of one's own raises say where it comes from."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, BpError):
            error.add_note(f"check_gradients: this came from the {method} of {who}")
        raise


def name_of(layer: Layer, place: str) -> str:
    """Return "layer 1 (Dense)"."""
    return f"layer {place} ({type(layer).__name__})"


def _list(names: Any) -> str:
    return ", ".join(names) or "none"


def _kind(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
