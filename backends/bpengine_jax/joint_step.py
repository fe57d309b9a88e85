"""A step of several models as one: `jax.vmap` over the step, with the models along the first axis of each array."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jax import numpy as jnp

from bpengine.backend import EpochOf, HostArray, State, Step
from bpengine.kernels._kernel import Array

Reports = dict[str, HostArray]


def joint_step(step: Step, rows_axis: int | None) -> Step:
    """Return the step of all models: state {"models": every array with the models first, "halted": (models,)}.

    rows_axis: 0 where each model has its own rows, None where all share them. lr: (1, models). The report has a value for
    each model, and "halt" once all have halted. A model that has halted does not change.
    """
    every = jax.vmap(step, in_axes=(0, rows_axis, 0))

    def joint(state: State, rows: tuple[Array, ...], lr: Array) -> tuple[State, dict[str, Array]]:
        before, halted = state["models"], state["halted"]
        after, report = every(before, rows, lr.T)
        models = jax.tree.map(lambda old, new: jnp.where(_beside(halted, new), old, new), before, after)
        halted = halted | report["halt"]
        return {"models": models, "halted": halted}, {**report, "halted": halted, "halt": jnp.all(halted)}

    return joint


def _beside(halted: Array, array: Array) -> Array:
    return jnp.reshape(halted, halted.shape + (1,) * (array.ndim - 1))


def stacked(states: Sequence[State]) -> State:
    """Return states of one structure stacked, the models along a new first axis."""
    together: State = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return together


def state_of(models: State, model: Array) -> State:
    """Return the state of one of the models, by its number."""
    one: State = jax.tree.map(lambda leaf: leaf[model], models)
    return one


def alike(epochs: Sequence[EpochOf]) -> bool:
    """Return whether all models use the same arrays of rows."""
    first = epochs[0].data
    return all(len(e.data) == len(first) and all(map(_same, e.data, first)) for e in epochs)


def _same(a: Array, b: Array) -> bool:
    return a is b


def along(arrays: Sequence[HostArray | None], room: int) -> HostArray | None:
    """Return rates (steps, room) or orders (steps, room, batch) of all models; idle ones repeat the last."""
    if arrays[0] is None:
        return None
    some = [array for array in arrays if array is not None]
    return np.stack(some + some[-1:] * (room - len(some)), axis=1)


def reports_of(model: int, reports: Reports) -> Reports:
    """Return the reports of one model's steps, up to the one that halted it."""
    halted = reports["halted"][:, model]
    count = int(np.argmax(halted)) + 1 if halted.any() else len(halted)
    own = {name: values[:count, model] for name, values in reports.items() if name not in ("halt", "halted")}
    return {**own, "halt": halted[:count]}
