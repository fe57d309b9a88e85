"""Traces of consecutive steps: each starts from the state that the one before left."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine.backend import ArrayLike, Backend, State
from bpengine.errors import ConfigError
from bpengine.explain.trace.recorder import kernel_ops, record
from bpengine.explain.trace.trace import Trace
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.layers import Layer, Residual
from bpengine.layers.layer import Arrays, HostArrays, Run
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.streams import dropout_counter
from bpengine.trained import TrainedNetwork
from bpengine.training.optimizers import Optimizer, make_optimizer
from bpengine.training.rows import model_rows
from bpengine.training.step import StepPlan, init_state, make_step


def trace_steps(
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike | None,
    weights: ArrayLike | None = None,
    *,
    optimizer: str | Optimizer = "sgd",
    steps: int,
) -> Iterator[Trace]:
    """Return the traces of the steps that a model's first `fit(x, y, optimizer=..., steps=...)` on the full batch takes.

    x (rows, inputs); y as the loss requires; weights (rows,) or None. Slots, running statistics, dropout masks and the
    learning rate's schedule continue from step to step. Each step runs when the iterator reaches it; the model is unchanged.
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
        state, ops = start, kernel_ops(backend)
        for i in range(steps):
            traced, state, _ = traced_step(
                network, backend, ops, plan, state, arrays, backend.asarray(rates[i : i + 1])
            )
            yield traced

    return run()


def require_target(y: object) -> None:
    """Raise ConfigError when no target is given: without one there is no loss, and no gradient."""
    if y is None:
        raise ConfigError(
            "a gradient requires y, the targets: without them there is no loss. Pass y, one row per row of x."
        )


def traced_step(
    network: Network, backend: Backend, ops: Ops, plan: StepPlan, state: State, arrays: tuple[Array, ...], rate: Array
) -> tuple[Trace, State, Array]:
    """Run one step from a state, kernel by kernel; return its trace, the state after it and the loss, on the backend.

    arrays: x, target and perhaps weights, on the backend. rate (1,): the learning rate.
    """
    left: list[tuple[State, Array]] = []

    def step(ops: Ops) -> tuple[Any, Any, Arrays, Any, Any, Crossings]:
        gradients: Arrays = {}
        crossings: Crossings = {}

        def keep(values: Arrays) -> Arrays:
            gradients.update(values)
            return values

        after, report = make_step(watched(network, crossings), plan, ops, keep)(state, arrays, rate)
        left.append((after, report["loss"]))
        return after, report["loss"], gradients, state, arrays, crossings

    tape, result = record(backend, ops, step)
    after, loss, gradients, before, batch, crossings = result
    x, target, *weights = batch
    names = list(state["params"])
    trace = Trace(
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
        learning_rate=float(backend.to_numpy(rate)[0]),
        counter=before["counter"],
        backend=backend.name,
        dtype=backend.dtype,
    )
    return trace, *left[0]


def _brought(backend: Backend, values: HostArrays) -> Arrays:
    return {name: backend.asarray(value, backend.dtype) for name, value in values.items()}


def _ordered(arrays: Arrays, names: list[str]) -> HostArrays:
    return {name: arrays[name] for name in names}


Crossings = dict[str, dict[str, Array]]  # place -> x, a, da, dx of the layer there


def watched(network: Network, crossings: Crossings) -> Network:
    """Return the same network with layers that record their inputs and outputs in `crossings`, by place."""
    wrapped: dict[int, Layer] = {}
    again = copy(network)
    object.__setattr__(again, "layers", tuple(_wrapped(layer, crossings, wrapped) for layer in network.layers))
    return again


def _wrapped(layer: Layer, crossings: Crossings, known: dict[int, Layer]) -> Layer:
    """Return a recording layer with the behaviour and the name of `layer`; one object stays one object."""
    if id(layer) not in known:
        inner = layer
        if isinstance(layer, Residual):
            inner = replace(layer, layers=[_wrapped(part, crossings, known) for part in layer.layers])
        known[id(layer)] = type(type(layer).__name__, (_Watched,), {})(inner, crossings)
    return known[id(layer)]


@dataclass(frozen=True, eq=False)
class _Watched(Layer):
    layer: Layer
    crossings: Crossings

    def outputs(self, inputs: int) -> int:
        return self.layer.outputs(inputs)

    def penalized(self) -> dict[str, str | None]:
        return self.layer.penalized()

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        result = self.layer.forward(ops, params, running, x, run)
        if not isinstance(result, tuple) or len(result) != 3:
            return result  # the caller raises the error with the reason
        y, residual, seen = result
        self.crossings[run.place] = {"x": x, "a": y}
        return y, (run.place, residual), seen

    def backward(self, ops: Ops, residual: Tree, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        place, own = residual
        result = self.layer.backward(ops, own, dy, need_dx=need_dx)
        if isinstance(result, tuple) and result:
            self.crossings[place] |= {"da": dy, "dx": result[0]}
        return result
