"""Steps: a training run laid open, one trace after another, each from where the one before left off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bpengine.backend import Backend, HostArray, State
from bpengine.errors import ConfigError
from bpengine.explain.trace.crossings import Crossings, watched
from bpengine.explain.trace.recorder import kernel_ops, record
from bpengine.explain.trace.trace import Trace
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, HostArrays
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.streams import dropout_counter
from bpengine.trained import TrainedNetwork
from bpengine.training.optimizers import Optimizer, make_optimizer
from bpengine.training.rows import model_rows
from bpengine.training.step import StepPlan, init_state, make_step


def trace_steps(
    model: TrainedNetwork, x: Any, y: Any, weights: Any = None, *, optimizer: str | Optimizer = "sgd", steps: int
) -> Iterator[Trace]:
    """Return the traces of the steps that a model's first `fit(x, y, optimizer=..., steps=...)` on the full batch takes.

    x (rows, inputs); y as the loss asks for; weights (rows,) or None. Slots, running statistics, dropout masks and the
    learning rate's schedule go on from step to step. Each step is run when it is asked for; the model is left as it was.
    Raises ConfigError without y, ShapeError or DataError for rows that do not fit, before the first step.
    """
    require_target(y)
    rows, backend, network = model_rows(model, x, y, weights), model.backend, model.network
    dtypes = rows.dtypes(backend.dtype)
    arrays = tuple(backend.asarray(a, d, copy=False) for a, d in zip(rows.arrays, dtypes, strict=True))
    chosen = make_optimizer(optimizer)
    params, running = (_brought(backend, values) for values in (model.parameters, model.running))
    plan = StepPlan(optimizer=chosen, trained=tuple(params), update="simultaneous", track_step_size=False)
    counter = backend.asarray(dropout_counter(model.seed))
    start = init_state(backend.ops(), plan, params, running, counter)
    rates = np.asarray(chosen.schedule(np.arange(steps)), dtype=backend.dtype)

    def run() -> Iterator[Trace]:
        state = start
        for i in range(steps):
            found, state = _traced(network, backend, plan, state, arrays, rates[i : i + 1])
            yield found

    return run()


def require_target(y: Any) -> None:
    """Raise ConfigError when no target is given: without one there is no loss, and no gradient."""
    if y is None:
        raise ConfigError(
            "a gradient requires y, the targets: without them there is no loss. Pass y, one row per row of x."
        )


def _traced(
    network: Network, backend: Backend, plan: StepPlan, state: State, arrays: tuple[Array, ...], rate: HostArray
) -> tuple[Trace, State]:
    """Run one step from a state, kernel by kernel; return its trace, and the state after it, still on the backend.

    arrays: x, target and perhaps weights, on the backend. rate (1,): the learning rate.
    """
    left: list[State] = []

    def step(ops: Ops) -> tuple[Any, Any, Arrays, Any, Any, Crossings]:
        gradients: Arrays = {}
        crossings: Crossings = {}

        def keep(given: Arrays) -> Arrays:
            gradients.update(given)
            return given

        after, report = make_step(watched(network, crossings), plan, ops, keep)(state, arrays, backend.asarray(rate))
        left.append(after)
        return after, report["loss"], gradients, state, arrays, crossings

    tape, result = record(backend, kernel_ops(backend), step)
    after, loss, gradients, before, given, crossings = result
    x, target, *weights = given
    names = list(state["params"])
    made = Trace(
        network=network,
        calls=tuple(tape.calls),
        forward_of=tape.forward_of,
        slopes=tape.slopes,
        crossings=crossings,
        x=x,
        target=target,
        weights=weights[0] if weights else None,
        loss=float(loss),
        gradients=_ordered(gradients, names),
        parameters=_ordered(before["params"], names),
        updated=_ordered(after["params"], names),
        running=before["running"],
        slots=before["slots"],
        optimizer=plan.optimizer,
        learning_rate=float(rate[0]),
        counter=before["counter"],
        backend=backend.name,
        dtype=backend.dtype,
    )
    return made, left[0]


def _brought(backend: Backend, values: HostArrays) -> Arrays:
    return {name: backend.asarray(value, backend.dtype) for name, value in values.items()}


def _ordered(arrays: Arrays, names: list[str]) -> HostArrays:
    return {name: arrays[name] for name in names}
