"""An epoch as one compiled loop over donated state."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from bpengine.backend import State, Step
from bpengine.kernels._kernel import Array

SMALL = 2**18  # bytes: a batch below this is no work for several threads, and XLA takes it with several all the same
TAKEN = 2**23  # bytes of rows that are taken at once for the steps to come


def build_epoch(step: Step) -> Callable[..., Any]:
    """Compile (state, data, order, lr, steps) -> (state, steps done, reports), which leaves early at "halt".

    A scan is the same loop without that exit. `order` (n, batch), or None for all rows each step, and `lr` (n,) are padded
    beyond `steps`; n is a power of two where there is an order. The reports are (n, ...).
    """

    def epoch(state: State, data: Any, order: Array | None, lr: Array, steps: Array) -> Any:
        def one_step(i: Array, state: State, rows: Any) -> tuple[State, dict[str, Array]]:
            return step(state, rows, lax.dynamic_slice(lr, (i,), (1,)))

        def run(carry: Any, stop: Array, rows_of: Callable[[Array], Any]) -> Any:
            def body(carry: Any) -> Any:
                i, _, state, reports = carry
                state, report = one_step(i, state, rows_of(i))
                return i + 1, report["halt"], state, {k: reports[k].at[i].set(v) for k, v in report.items()}

            return _while(stop, body, carry)

        def run_block(carry: Any) -> Any:
            first = carry[0]
            rows = _take(data, lax.dynamic_slice_in_dim(order, first, block))
            return run(carry, jnp.minimum(first + block, steps), lambda i: _at(rows, i - first))

        zero = jnp.asarray(0, dtype=jnp.int32)
        first_rows = data if order is None else _take(data, order[0])
        report = jax.eval_shape(one_step, zero, state, first_rows)[1]
        reports = {name: jnp.zeros(lr.shape + r.shape, r.dtype) for name, r in report.items()}
        carry = zero, jnp.asarray(False), state, reports
        if order is None:
            done, _, state, reports = run(carry, steps, lambda _: data)
        elif (block := steps_at_once(data, *order.shape)) == 1:
            done, _, state, reports = run(carry, steps, lambda i: _take(data, order[i]))
        else:
            done, _, state, reports = _while(steps, run_block, carry)
        return state, done, reports

    compiled: Callable[..., Any] = jax.jit(epoch, donate_argnums=0)
    return compiled


def steps_at_once(data: Any, steps: int, batch: int) -> int:
    """Return for how many steps, a power of two, rows are taken at once: 1 where batches are large.

    Taken in every step, 32 rows of 64 numbers cost half as much again as the step itself (measured on two cores).
    """
    taken = batch * sum(prod(a.shape[1:]) * a.dtype.itemsize for a in data)
    return 1 if taken >= SMALL else min(steps, 1 << ((TAKEN // max(taken, 1)).bit_length() - 1))


def _while(stop: Array, body: Callable[[Any], Any], carry: Any) -> Any:
    """Run `body` on (i, halt, ...) until i reaches `stop` or halt is true."""
    return lax.while_loop(lambda carry: (carry[0] < stop) & ~carry[1], body, carry)


def _take(data: Any, rows: Array) -> Any:
    return tuple(jnp.take(array, rows, axis=0, mode="clip") for array in data)


def _at(rows: Any, i: Array) -> Any:
    return tuple(lax.dynamic_index_in_dim(array, i, keepdims=False) for array in rows)
