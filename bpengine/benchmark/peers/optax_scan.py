"""A hand-written jitted epoch of JAX + optax: the yardstick."""

from __future__ import annotations

from typing import Any

import jax

from bpengine.benchmark.peers.optax_step import OptaxStep


class OptaxScan(OptaxStep):
    """The same step under `lax.scan` over an epoch's row numbers, rows taken inside the loop, state donated."""

    note = OptaxStep.note.replace("one jitted step", "lax.scan over the steps of an epoch, jitted")

    def compiled(self) -> Any:
        """Return the jitted epoch: (state, data, order, length) -> (state, losses)."""

        def epoch(state: Any, data: Any, order: Any, length: int) -> Any:
            return jax.lax.scan(lambda state, rows: self.step(state, data, rows), state, order, length=length)

        return jax.jit(epoch, donate_argnums=0, static_argnums=3)

    def train(self, steps: int) -> None:
        """Call the compiled epoch for every epoch."""
        state = self._state
        for epoch in self.sample.epochs(steps):
            state, _ = self._run(state, self._data, epoch.order, epoch.steps)
        self._state = jax.block_until_ready(state)
