"""Residual: y = x + f(x), f being a chain of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.errors import ShapeError, whole
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.layers.chain import (
    Chained,
    backward_chain,
    check_layers,
    extent_of,
    forward_chain,
    init_chain,
    init_running_chain,
    shapes_chain,
    sizes,
)
from bpengine.layers.contract import name_of
from bpengine.layers.layer import Arrays, HostArrays, Layer, Run, Shapes
from bpengine.ops import Ops


@dataclass(frozen=True)
class Residual(Chained):
    """Add the input to the output of the inner layers, which must have as many features.

    Parameters: those of the inner layers, numbered: "0.weight" ...
    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016.

    >>> network = bp.Network(3, [bp.Residual([bp.Dense(3, "tanh")]), bp.Dense(1)], "mean_squared_error")
    >>> sorted(bp.Model(network).parameters)
    ['0.0.bias', '0.0.weight', '1.bias', '1.weight']
    """

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", check_layers(self.layers, "Residual"))
        object.__setattr__(self, "_extent", extent_of(self.layers, "Residual"))

    def outputs(self, inputs: int) -> int:
        """Return `inputs`; raise ShapeError when the inner layers do not end with as many features."""
        if inputs == getattr(self, "_fits", None):  # every enclosing layer calls this, so it is computed once
            return inputs
        inner = sizes(self.layers, inputs)[-1]
        if inner != inputs:
            raise ShapeError(
                f"Residual requires its layers to end with as many features as go in, got {inputs} in and {inner} out. "
                f"End them with Dense({inputs})."
            )
        object.__setattr__(self, "_fits", inputs)
        return inputs

    def init(self, rng: np.random.Generator, inputs: int) -> HostArrays:
        """Initialise the inner layers; each draws from a stream of its own, spawned from `rng`."""
        return init_chain(self.layers, self.streams(rng), inputs)

    def init_running(self, inputs: int) -> HostArrays:
        """Return the running statistics of the inner layers."""
        return init_running_chain(self.layers, inputs)

    def shapes(self, inputs: int) -> Shapes:
        """Return the shapes of the inner layers' arrays."""
        return shapes_chain(self.layers, inputs)

    def smallest_batch(self, run: Run) -> int:
        """Return the smallest number of rows that suffices for all inner layers."""
        return neediest(self.layers, run)[0]

    def penalized(self) -> dict[str, str | None]:
        """Return the penalized parameters of the inner layers."""
        return {f"{i}.{n}": row for i, layer in enumerate(self.layers) for n, row in layer.penalized().items()}

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        """Return x + f(x)."""
        inner, residuals, seen = forward_chain(self.layers, ops, params, running, x, run)
        y, added = ops.at(run.place).add_fwd(x, inner)
        return y, (run.place, added, tuple(residuals)), seen

    def backward(self, ops: Ops, residual: Tree, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return the sum of the gradients through both branches, and the inner layers' gradients."""
        place, added, residuals = residual
        straight, inward = ops.add_bwd(added, dy)
        bent, gradients = backward_chain(self.layers, ops, residuals, inward, place, need_dx=need_dx)
        return (ops.add_fwd(straight, bent)[0] if need_dx else None), gradients


def neediest(layers: Sequence[Layer], run: Run) -> tuple[int, Layer]:
    """Return the smallest batch that all layers can be run on, and the layer that needs it, also inside of Residual.

    Raises ConfigError when a layer returns anything but a number of rows.
    """
    needs, prefix = [], f"{run.place}." if run.place else ""
    for i, layer in enumerate(layers):
        here = run.at(prefix + str(i))
        if isinstance(layer, Residual):
            needs.append(neediest(layer.layers, here))
        else:
            least = whole(layer.smallest_batch(here), name_of(layer, here.place), "the result of its smallest_batch")
            needs.append((least, layer))
    return max(needs, key=lambda pair: pair[0])
