"""A whole fit with a hand-written jitted epoch of JAX + optax, compiled once for all models of the same sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpengine.benchmark.peers.whole_fits.fit_script import Array, FitTask, Weights, run

State = tuple[Weights, Any]  # parameters, and what optax keeps of them
PACKAGES = ("jax", "jaxlib", "optax", "numpy")
NOTE = (
    "jitted lax.scan over an epoch, state donated, rows of small batches taken before the scan; compiled once for all models "
    "of the same sizes; JAX's cache on disk is off, as it is unless it is asked for"
)
SMALL_BYTES = 2**18  # batches below this size: gathering all rows before the scan is faster


class ScanFit:
    """Parameters, slots and data on the device; an epoch is one call."""

    def __init__(self, task: FitTask, argument: str) -> None:
        self._batch, self._orders = task.batch, task.orders()
        self._data = jnp.asarray(task.x), jnp.asarray(task.y, dtype=jnp.int32)
        self._params: Any = [(jnp.asarray(w), jnp.asarray(b)) for w, b in task.initial()]
        self._rule, self._epoch = _compiled(task.rate, task.eps, before=task.x[: task.batch].nbytes < SMALL_BYTES)
        self.renew()

    def renew(self) -> None:
        """Reset the optimiser's slots."""
        self._slots = jax.block_until_ready(self._rule.init(self._params))

    def train(self, call: int) -> None:
        """Call the compiled epoch; the last, smaller batch is a step after the scan, in the same program."""
        state = self._params, self._slots
        for order in self._orders[call]:
            whole = len(order) - len(order) % self._batch
            rest = order[whole:] if whole < len(order) else None
            state, _ = self._epoch(state, self._data, order[:whole].reshape(-1, self._batch), rest)
        self._params, self._slots = jax.block_until_ready(state)

    def weights(self) -> Weights:
        """Return the parameters."""
        return [(np.asarray(w), np.asarray(b)) for w, b in self._params]


@cache
def _compiled(
    rate: float, eps: float, *, before: bool
) -> tuple[optax.GradientTransformation, Callable[..., tuple[State, Array]]]:
    """Return the update rule and the jitted epoch (state, data, order, rest) -> (state, losses); `before`: gather first."""
    rule = optax.adam(rate, eps=eps)

    def step(state: State, batch: tuple[Array, ...]) -> tuple[State, Array]:
        params, slots = state
        loss, gradients = jax.value_and_grad(_loss)(params, *batch)
        updates, slots = rule.update(gradients, slots, params)
        return (optax.apply_updates(params, updates), slots), loss

    @partial(jax.jit, donate_argnums=0)
    def epoch(state: State, data: tuple[Array, ...], order: Array, rest: Array | None) -> tuple[State, Array]:
        def taken(rows: Array) -> tuple[Array, ...]:
            return tuple(array[rows] for array in data)

        if before:
            state, losses = jax.lax.scan(step, state, taken(order))
        else:
            state, losses = jax.lax.scan(lambda state, rows: step(state, taken(rows)), state, order)
        if rest is not None:
            state, _ = step(state, taken(rest))
        return state, losses

    return rule, epoch


def _loss(params: Weights, x: Array, target: Array) -> Array:
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x @ w + b, target))


if __name__ == "__main__":
    run(ScanFit, PACKAGES, NOTE)
