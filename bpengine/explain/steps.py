"""Steps: a training run laid open, one trace after another, each from where the one before left off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bpengine.backend import Backend
from bpengine.explain.find import require_target
from bpengine.explain.trace import Trace, traced_step
from bpengine.layers.layer import Arrays, HostArrays
from bpengine.training.inputs import check_rows
from bpengine.training.optimizers import Optimizer, make_optimizer
from bpengine.training.step import StepPlan, init_state


def trace_steps(
    model: Any, x: Any, y: Any, weights: Any = None, *, optimizer: str | Optimizer = "sgd", steps: int
) -> Iterator[Trace]:
    """Return the traces of the steps that a model's first `fit(x, y, optimizer=..., steps=...)` on the full batch takes.

    x (rows, inputs); y as the loss asks for; weights (rows,) or None. Slots, running statistics, dropout masks and the
    learning rate's schedule go on from step to step. Each step is run when it is asked for; the model is left as it was.
    Raises ConfigError without y, ShapeError or DataError for rows that do not fit, before the first step.
    """
    require_target(y)
    rows, backend, network = check_rows(model.network, x, y, weights), model.backend, model.network
    dtypes = rows.dtypes(backend.dtype)
    arrays = tuple(backend.asarray(a, d, copy=False) for a, d in zip(rows.arrays, dtypes, strict=True))
    chosen = make_optimizer(optimizer)
    params, running = (_brought(backend, values) for values in (model.parameters, model.running))
    plan = StepPlan(chosen, tuple(params), "simultaneous", None, None, None, track_step_size=False)
    counter = backend.asarray(np.array([model.seed % 2**32, 0], dtype=np.uint32))
    start = init_state(backend.ops(), plan, params, running, counter)
    rates = np.asarray(chosen.schedule(np.arange(steps)), dtype=backend.dtype)

    def run() -> Iterator[Trace]:
        state = start
        for i in range(steps):
            found, state = traced_step(network, backend, plan, state, arrays, rates[i : i + 1])
            yield found

    return run()


def _brought(backend: Backend, values: HostArrays) -> Arrays:
    return {name: backend.asarray(value, backend.dtype) for name, value in values.items()}
