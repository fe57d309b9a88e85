"""An epoch in the form of its platform; on most platforms it is one compiled loop over donated state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from bpengine.backend import HostArray, State, Step
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine_jax.epoch_plan import EpochPlan
from bpengine_jax.shard_loop import SharedStep
from bpengine_jax.transports import Transport
from bpengine_jax.windows import Windows, compiled_epoch, take

ROUND = 2**14  # steps on the full batch are padded to a multiple of this: a rate and a report each
Epoch = Callable[
    [State, tuple[Array, ...], HostArray | None, HostArray, int], tuple[State, dict[str, HostArray]]
    # state, data, order (int32), lr (in the state's dtype), whole -> state and reports, as `Backend.run_epoch` returns them
]


def build_epoch(step: Step, plan: EpochPlan) -> Epoch:
    """Return an epoch of a step in the form that the plan chooses."""
    epoch = Windows(step, plan) if plan.windows else build_loop(step, plan)
    return _checked(epoch, step.transport) if isinstance(step, SharedStep) else epoch


def _checked(epoch: Epoch, transport: Transport) -> Epoch:
    """Return the epoch as a function that raises the exception of an exchange inside of it."""

    def run(
        state: State, data: tuple[Array, ...], order: HostArray | None, lr: HostArray, whole: int
    ) -> tuple[State, dict[str, HostArray]]:
        ended = epoch(state, data, order, lr, whole)
        transport.check()
        return ended

    return run


def build_loop(step: Step, plan: EpochPlan) -> Epoch:
    """Return the epoch as one loop.

    The number of steps is an argument of the compiled loop, and `order` and `lr` are padded to a common length, so that
    runs of different lengths share a compilation; parts of one run use the program of the whole run, so that they give the
    same bits.
    """
    compiled = compile_loop(step, plan)

    def run(
        state: State, data: tuple[Array, ...], order: HostArray | None, lr: HostArray, whole: int
    ) -> tuple[State, dict[str, HostArray]]:
        padding = -len(lr) % ROUND if order is None else (1 << (whole - 1).bit_length()) - len(lr)
        rows = None if order is None else _longer(order, padding)
        state, done, reports = compiled(state, data, rows, _longer(lr, padding), len(lr))
        steps = int(done)
        return state, {name: np.asarray(values)[:steps] for name, values in reports.items()}

    return run


def compile_loop(step: Step, plan: EpochPlan) -> Callable[..., Any]:
    """Compile (state, data, order, lr, steps) -> (state, steps done, reports), which leaves early at "halt".

    A scan is the same loop without that exit. `order` (n, batch), or None for all rows each step, and `lr` (n,) are padded
    beyond `steps`; n is a power of two where there is an order. The reports are (n, ...). For a step of several models
    (`joint_step`) they are (n, models, batch) and (n, models).
    """

    def epoch(state: State, data: tuple[Array, ...], order: Array | None, lr: Array, steps: Array) -> Tree:
        def one_step(i: Array, state: State, rows: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
            return step(state, rows, lax.dynamic_slice_in_dim(lr, i, 1))

        def run(carry: Tree, stop: Array, rows_of: Callable[[Array], tuple[Array, ...]]) -> Tree:
            def body(carry: Tree) -> Tree:
                i, _, state, reports = carry
                state, report = one_step(i, state, rows_of(i))
                return i + 1, report["halt"], state, {k: array.at[i].set(report[k]) for k, array in reports.items()}

            return _while(stop, body, carry)

        def run_block(carry: Tree) -> Tree:
            first = carry[0]
            rows = take(data, lax.dynamic_slice_in_dim(order, first, block))
            return run(carry, jnp.minimum(first + block, steps), lambda i: _at(rows, i - first))

        zero = jnp.asarray(0, dtype=jnp.int32)
        first_rows = data if order is None else take(data, order[0])
        report = jax.eval_shape(one_step, zero, state, first_rows)[1]
        alone = report["halt"].ndim == 0  # whether one model halts, which ends the loop: all steps before did not
        kept = {name: r for name, r in report.items() if not (alone and name == "halt")}
        reports = {name: jnp.zeros(lr.shape[:1] + r.shape, r.dtype) for name, r in kept.items()}
        carry = zero, jnp.asarray(False), state, reports
        if order is None:
            done, halted, state, reports = run(carry, steps, lambda _: data)
        elif (block := plan.steps_at_once(data, order.shape)) == 1:
            done, halted, state, reports = run(carry, steps, lambda i: take(data, order[i]))
        else:
            done, halted, state, reports = _while(steps, run_block, carry)
        if alone:
            reports = {**reports, "halt": (jnp.arange(lr.shape[0]) == done - 1) & halted}
        return state, done, reports

    return compiled_epoch(step, epoch, donate=(0,))


def _longer(array: HostArray, by: int) -> HostArray:
    if not by:
        return array
    longer = np.zeros((len(array) + by, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


def _while(stop: Array, body: Callable[[Tree], Tree], carry: Tree) -> Tree:
    """Run `body` on (i, halt, ...) until i reaches `stop` or halt is true."""
    return lax.while_loop(lambda carry: (carry[0] < stop) & ~carry[1], body, carry)


def _at(rows: tuple[Array, ...], i: Array) -> tuple[Array, ...]:
    return tuple(lax.dynamic_index_in_dim(array, i, keepdims=False) for array in rows)
