"""A hand-written jitted epoch of JAX + optax: the reference for ratios."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax

from bpengine.benchmark.peers import adam_rule
from bpengine.benchmark.peers.optax_step import OptaxStep
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree

UNROLLED = 8  # steps between two tests of the loop's condition, which on a GPU the host evaluates
SMALL_BYTES = 2**18  # batches below this size: gathering all rows before the scan is faster (measured: up to 1.8 times)


class OptaxScan(OptaxStep):
    """The same step under `lax.scan` over an epoch, state donated.

    On the CPU, XLA gathers rows slowly inside a loop. With small batches the epoch's rows are therefore gathered before the
    scan; with large ones that costs more than it saves, and each step gathers its rows. On a GPU each step gathers its rows,
    and eight steps are one iteration.
    """

    note = (
        "jitted lax.scan over an epoch, state donated, rows of small batches taken before the scan, on a GPU inside it, "
        f"{UNROLLED} steps an iteration; {adam_rule.NOTE}"
    )

    def compiled(self) -> Callable[..., Tree]:
        """Return the jitted epoch: (state, data, order, length) -> (state, losses)."""
        on_gpu = self.device == "gpu"
        before = self.sample.x[: self.workload.batch].nbytes < SMALL_BYTES and not on_gpu
        scan = partial(jax.lax.scan, unroll=UNROLLED if on_gpu else 1)

        def epoch(state: Tree, data: tuple[Array, Array], order: Array | None, length: int) -> Tree:
            if order is None:
                return scan(lambda state, _: self.step(state, data, None), state, length=length)
            if before:
                taken = tuple(array[order] for array in data)
                return scan(lambda state, batch: self.step(state, batch, None), state, taken)
            return scan(lambda state, rows: self.step(state, data, rows), state, order)

        jitted: Callable[..., Tree] = jax.jit(epoch, donate_argnums=0, static_argnums=3)
        return jitted

    def train(self, steps: int) -> None:
        """Call the compiled epoch for every epoch."""
        state = self._state
        for epoch in self.sample.epochs(steps):
            state, _ = self._run(state, self._data, epoch.order, epoch.steps)
        self._state = jax.block_until_ready(state)
