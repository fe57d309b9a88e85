"""Layer: the interface of everything a network is built from.

A layer is a frozen description. It holds no arrays and no mathematics: its methods take parameters as a dict, and
every computation is a call of `ops`. To add one, subclass `Layer` and write the methods below; nothing is registered.
`docs/guides/your-own-layer.md` writes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.ops import Ops
from bpengine.streams import stream

Value = TypeVar("Value")
Arrays = dict[str, Array]
HostArrays = dict[str, np.ndarray[Any, Any]]
ArrayShapes = dict[str, tuple[int, ...]]


class Shapes(NamedTuple):
    """The shapes of a layer's parameters and of its running statistics, by name.

    >>> bp.Network(2, bp.Dense(1), "mean_squared_error").shapes()
    Shapes(params={'0.weight': (2, 1), '0.bias': (1,)}, running={})
    """

    params: ArrayShapes
    running: ArrayShapes


class Run(NamedTuple):
    """How a forward pass is run: training or not, which layer this is, and the counter that dropout masks come from.

    frozen: the places of layers that run as outside training, with their running statistics, while the others train.
    weights: (batch,), how often each row of the batch counts in a training step, 0 to leave it out; None counts each row once.
    A layer that computes something from several rows at once must use them.
    met: a training step has been run with rows of these shapes before, so custom layers are known not to change their
    arguments.
    first: the position of the first row in the step's batch, where the rows are one shard of it: the random numbers of a row
    depend on its position in the batch. A number, or an array (1,) of uint32 where a loop over shards is compiled.

    >>> bp.layers.Run(training=False, counter=None).training
    False
    """

    training: bool = False
    counter: Array = None  # uint32 (2,): seed and step; needed when training with dropout
    place: str = ""
    frozen: frozenset[str] = frozenset()
    weights: Array | None = None
    met: bool = False
    first: int | Array = 0

    def at(self, place: str) -> Run:
        """Return the same run inside another layer."""
        training = self.training and place not in self.frozen
        # `_replace` takes five times as long, and every layer of every step comes here
        return Run(training, self.counter, place, self.frozen, weights=self.weights, met=self.met, first=self.first)


@dataclass(frozen=True)
class Layer:
    """Base of all layers; it is itself a layer without parameters that returns its input.

    >>> class Double(bp.Layer):
    ...     def forward(self, ops, params, running, x, run):
    ...         return 2.0 * x, None, running
    ...     def backward(self, ops, residual, dy, *, need_dx=True):
    ...         return 2.0 * dy, {}
    >>> bp.check_gradients(Double(), [[1.0, -2.0]]).passed
    True
    """

    # running statistics that cannot become negative, such as a variance
    _never_negative: ClassVar[tuple[str, ...]] = ()

    def outputs(self, inputs: int) -> int:
        """Return the number of features that come out when `inputs` features go in."""
        return inputs

    def init(self, rng: np.random.Generator, inputs: int) -> HostArrays:
        """Return the initial parameters by local name ("weight"), in float64."""
        return {}

    def init_running(self, inputs: int) -> HostArrays:
        """Return the initial running statistics by local name: training updates them, but not by gradients."""
        return {}

    def shapes(self, inputs: int) -> Shapes:
        """Return the shapes of what `init` and `init_running` return.

        The base class calls both. A layer that overrides this without making an array can be checked against a model file
        before any memory is allocated for it.

        >>> import bpengine as bp
        >>> bp.Dense(3).shapes(2)
        Shapes(params={'weight': (2, 3), 'bias': (3,)}, running={})
        """
        drawn, kept = self.init(stream("shared shapes", 0), inputs), self.init_running(inputs)
        return Shapes({n: np.shape(a) for n, a in drawn.items()}, {n: np.shape(a) for n, a in kept.items()})

    def smallest_batch(self, run: Run) -> int:
        """Return the fewest rows that a step may have: 2 for a layer that uses statistics over the rows."""
        return 1

    def penalized(self) -> dict[str, str | None]:
        """Return the parameters that penalties apply to, each with its bias row: None, "first" or "last"."""
        return {}

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        """Return (y, residual, new running statistics) for x (batch, inputs)."""
        return x, None, running

    def backward(self, ops: Ops, residual: Tree, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return (dx, gradients by the parameters' local names); dx may be None when it is not needed."""
        return dy, {}


def local(arrays: Mapping[str, Value], place: str) -> dict[str, Value]:
    """Return the arrays of one layer under their local names: "0.weight" becomes "weight"."""
    if not arrays:
        return {}
    start = place + "."
    return {name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)}


def qualified(arrays: Mapping[str, Value], place: str) -> dict[str, Value]:
    """Return local arrays under their full names: "weight" becomes "0.weight"."""
    return {f"{place}.{name}": array for name, array in arrays.items()} if arrays else {}


__all__ = ["Arrays", "HostArrays", "Layer", "Run", "Shapes", "local", "qualified"]
