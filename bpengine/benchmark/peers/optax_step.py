"""A jitted JAX + optax step, called from a Python loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bpengine.benchmark.inputs import Sample, Weights
from bpengine.benchmark.peers import adam_rule
from bpengine.benchmark.peers.peer import Peer
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree

MATMUL = {"full": "highest", "tf32": "TF32_TF32_F32", "bfloat16": "BF16_BF16_F32"}


class OptaxStep(Peer):
    """value_and_grad and an optax update in one jitted function that also takes the rows; the state is donated."""

    packages = ("jax", "jaxlib", "jax-cuda13-plugin", "nvidia-cuda-runtime", "optax")
    note = f"one jitted step, state donated, rows taken inside; {adam_rule.NOTE}"

    def __init__(self, sample: Sample, argument: str, device: str) -> None:
        super().__init__(sample, argument, device)
        jax.config.update("jax_default_matmul_precision", MATMUL[self.precision])  # XLA's default is TF32 on a GPU
        target = jnp.asarray(sample.y) if self.workload.binary else jnp.asarray(sample.y, dtype=jnp.int32)
        self._data = jnp.asarray(sample.x), target
        self._activation = getattr(jax.nn, self.workload.activation)
        self._rule = adam_rule.make(self.workload.optimizer, self.workload.rate)
        self._run = self.compiled()
        self._state: Any = None

    @classmethod
    def about(cls, argument: str, device: str) -> dict[str, Any]:
        """Return versions and the device."""
        return {**super().about(argument, device), "device": str(jax.devices()[0])}

    def compiled(self) -> Callable[..., Tree]:
        """Return the jitted function."""
        jitted: Callable[..., Tree] = jax.jit(self.step, donate_argnums=0)
        return jitted

    def reset(self) -> None:
        """Bring the initial weights to the device, with new optimiser slots."""
        params = [(jnp.array(w, copy=True), jnp.array(b, copy=True)) for w, b in self.sample.initial]
        self._state = jax.block_until_ready((params, self._rule.init(params)))

    def train(self, steps: int) -> None:
        """Call the step for every batch."""
        state = self._state
        for epoch in self.sample.epochs(steps):
            for i in range(epoch.steps):
                state, _ = self._run(state, self._data, None if epoch.order is None else epoch.order[i])
        self._state = jax.block_until_ready(state)

    def step(self, state: Tree, data: tuple[Array, Array], rows: Array | None) -> tuple[Tree, Array]:
        """Train one step; return the new state and the loss."""
        params, slots = state
        x, target = data if rows is None else (array[rows] for array in data)
        loss, gradients = jax.value_and_grad(self._loss)(params, x, target)
        updates, slots = self._rule.update(gradients, slots, params)
        return (jax.tree.map(jnp.add, params, updates), slots), loss

    def _loss(self, params: Tree, x: Array, target: Array) -> Array:
        for w, b in params[:-1]:
            x = self._activation(x @ w + b)
        w, b = params[-1]
        y = x @ w + b
        if self.workload.binary:
            return jnp.mean(jax.nn.softplus(y) - target * y)
        picked = jnp.take_along_axis(y, target[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(y, axis=1) - picked)

    def weights(self) -> Weights:
        """Return the parameters."""
        return [(np.asarray(w), np.asarray(b)) for w, b in self._state[0]]

    def device_memory(self) -> dict[str, int]:
        """Return the bytes that JAX reports on a GPU."""
        stats = jax.devices()[0].memory_stats() or {}
        return {ours: int(stats[theirs]) for ours, theirs in (("in_use", "bytes_in_use"), ("peak", "peak_bytes_in_use"))
                if theirs in stats}  # fmt: skip
