"""Problem: what every oracle checks, a scalar function of named arrays together with its hand-written gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.kernels._kernel import Array, Namespace
from bpengine.layers import Layer
from bpengine.layers.chain import backward_chain
from bpengine.layers.contract import run_backward, run_forward
from bpengine.layers.layer import Arrays, HostArrays, Run
from bpengine.network import Network, foreign
from bpengine.ops import Ops, known
from bpengine.streams import dropout_counter
from bpengine.system.quiet import Quiet
from bpengine.training.rows import Rows

Hand = Callable[[Ops, Arrays], tuple[Array, dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A scalar function at a point, in float64.

    `at` holds the arrays it is differentiated by. `scalar(ops, at)` runs forward kernels alone, on any namespace;
    `hand(ops, at)` returns the same number and its gradients by the backward under check, bound in `ops`.
    `counts` names the numbers that appear as a ratio where a mean is missing. `bias_rows` says which row of a weight holds
    the biases. `foreign` names custom code that is not declared complex-differentiable; `unstated` says that it may have
    kinks that no kernel states. `inputs` names the arrays that are not parameters: a network's parameters are compared
    among themselves, whatever the size of its inputs. `input_names` are the names that a model's Features give to a
    network's inputs. `terms(ops, at)` returns the numbers whose sum is the scalar, one for each output of a layer or
    kernel; a network has none. `memo` keeps the functions compiled for the problem, at any point.
    """

    title: str
    at: HostArrays
    ops: Ops
    scalar: Callable[[Ops, Arrays], Array]
    hand: Hand
    counts: Mapping[str, int] = field(default_factory=dict)
    bias_rows: Mapping[str, str | None] = field(default_factory=dict)
    foreign: str | None = None
    inputs: tuple[str, ...] = ()
    input_names: tuple[str, ...] = ()
    unstated: bool = False
    terms: Callable[[Ops, Arrays], Array] | None = None
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def value(self, ops: Ops, at: Arrays) -> Array:
        """Return the scalar, real or complex, without NumPy's warnings."""
        with Quiet():
            return np.asarray(self.scalar(ops, at))[()]

    def gradients(self, ops: Ops | None = None, at: Arrays | None = None) -> tuple[float, HostArrays]:
        """Return the scalar and the hand-written gradient of every array of `at`, in float64."""
        with Quiet():
            value, gradients = self.hand(ops or self.ops, self.at if at is None else at)
        return float(value), {name: np.asarray(gradients[name], dtype=np.float64) for name in self.at}

    def fellows(self, name: str) -> list[str]:
        """Return the arrays that one is compared among: itself and the others of its kind, inputs or parameters."""
        return [n for n in self.at if (n in self.inputs) == (name in self.inputs)]


def counter(xp: Namespace, seed: int) -> Array:
    """Return the counter of the first step, from which dropout masks are drawn."""
    return xp.asarray(dropout_counter(seed))


def of_network(
    network: Network, ops: Ops, params: HostArrays, running: HostArrays, rows: Rows, seed: int, title: str
) -> Problem:
    """Return the loss of a network, penalties included, in training mode at step 0 of `seed`.

    It is differentiated by every parameter and by the network's input "x". For the input, the backward includes the product
    through the first layer, which training skips.
    """
    fixed = {name: np.asarray(value, dtype=np.float64) for name, value in running.items()}
    x, *host = [np.asarray(a, dtype=d) for a, d in zip(rows.arrays, rows.dtypes("float64"), strict=True)]

    def arguments(xp: Namespace, at: Arrays) -> tuple[Any, ...]:
        target, *weights = [xp.asarray(a) for a in host]
        kept = {name: xp.asarray(value) for name, value in fixed.items()}
        return kept, at["x"], target, (weights[0] if weights else None), Run(True, counter(xp, seed))

    def scalar(ops: Ops, at: Arrays) -> Array:
        return network.total_loss(ops, at, *arguments(ops.xp, at))

    def hand(ops: Ops, at: Arrays) -> tuple[Array, Arrays]:
        kept, x, target, weights, run = arguments(ops.xp, at)
        loss, gradients, _ = network.loss_and_gradients(ops, at, kept, x, target, weights, run)
        passed = network.forward(ops, at, kept, x, run._replace(weights=weights))
        _, dy, _ = network.loss_and_cotangent(ops, at, passed.y, target, weights)
        return loss, {**gradients, "x": backward_chain(network.layers, ops, passed.residuals, dy)[0]}

    counts = {"batch size": len(rows.x), "number of outputs": network.outputs}
    custom = foreign(network.layers) or (None if known(network.loss.kernel) else f"loss {network.loss.name!r}")
    return Problem(
        title=title,
        at={**params, "x": x},
        ops=ops,
        scalar=scalar,
        hand=hand,
        counts=counts,
        bias_rows=network.penalized(),
        foreign=custom,
        inputs=("x",),
        unstated=custom is not None,
    )


def of_layer(
    layer: Layer, ops: Ops, x: HostArray, params: HostArrays, dy: HostArray, running: HostArrays, run: Run
) -> Problem:
    """Return <dy, y> of one layer as a function of its input "x" and its parameters.

    A parameter that is itself called "x", or "value" like the scalar in a report, is "x (parameter)" here.
    """
    shown = {name: f"{name} (parameter)" if name in ("x", "value") else name for name in params}

    def forward(ops: Ops, at: Arrays) -> tuple[Array, Any]:
        xp = ops.xp
        kept = {name: xp.asarray(value) for name, value in running.items()}
        weights = None if run.weights is None else xp.asarray(run.weights)
        here = run._replace(counter=xp.asarray(run.counter), weights=weights)
        own = {name: at[shown[name]] for name in params}
        y, residual, _ = run_forward(layer, ops.at(run.place), own, kept, at["x"], here)
        return xp.asarray(dy) * y, residual

    def hand(ops: Ops, at: Arrays) -> tuple[Array, Arrays]:
        terms, residual = forward(ops, at)
        dx, gradients = run_backward(layer, ops.at(run.place), residual, ops.xp.asarray(dy))
        return ops.xp.sum(terms), {**{shown[name]: dw for name, dw in gradients.items()}, "x": dx}

    def scalar(ops: Ops, at: Arrays) -> Array:
        return ops.xp.sum(forward(ops, at)[0])

    def terms(ops: Ops, at: Arrays) -> Array:
        return forward(ops, at)[0]

    counts = {"batch size": len(x), "number of outputs": dy.shape[-1]}
    custom = foreign([layer])
    return Problem(
        title=f"layer {type(layer).__name__}",
        at={**{shown[name]: value for name, value in params.items()}, "x": x},
        ops=ops,
        scalar=scalar,
        hand=hand,
        counts=counts,
        bias_rows={shown[name]: row for name, row in layer.penalized().items()},
        foreign=custom,
        unstated=custom is not None,
        terms=terms,
    )


def step_sizes(array: HostArray) -> HostArray:
    """Return the unit of a step for each element: its own size, or the usual size of its array if that is larger."""
    usual = float(np.sqrt(np.mean(array**2))) if array.size else 0.0
    return np.maximum(np.abs(array), usual if usual > 0 else 1.0)
