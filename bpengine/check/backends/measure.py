"""The arrays of one backend: every layer's output, the loss, all gradients, the parameters after some training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import Backend
from bpengine.check.problems.problem import counter
from bpengine.errors import NonFiniteError
from bpengine.i18n.counted_nouns import count_of
from bpengine.kernels._kernel import Array
from bpengine.layers.chain import layer_steps
from bpengine.layers.layer import Arrays, HostArrays, Run
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.training.evaluation import Evaluator
from bpengine.training.fit import FitSettings, Trainable
from bpengine.training.optimizers import Optimizer
from bpengine.training.rows import Rows

Measured = dict[tuple[str, str], Any]  # (part, array) -> float64 array, in the order of the computation


@dataclass(frozen=True, kw_only=True)
class MeasureSetup:
    """The network, rows and settings that every backend computes with."""

    network: Network
    rows: Rows
    params: HostArrays
    running: HostArrays
    steps: int
    seed: int
    optimizer: Optimizer


def measure(setup: MeasureSetup, backend: Backend, ops: Ops | None = None) -> Measured:
    """Return all arrays of one backend, computed by its own ops or by those given."""
    ops = ops or backend.ops()
    params = {n: backend.asarray(a, backend.dtype) for n, a in setup.params.items()}
    running = {n: backend.asarray(a, backend.dtype) for n, a in setup.running.items()}
    pairs = zip(setup.rows.arrays, setup.rows.dtypes(backend.dtype), strict=True)
    rows = [backend.asarray(a, d) for a, d in pairs]
    run = _BackendRun(setup, backend, ops, params, running)
    with backend.scope():
        arrays = {**run.forward(*rows), **run.gradients(rows), **(run.train() if setup.steps else {})}
    return {key: np.asarray(backend.to_numpy(a), dtype=np.float64) for key, a in arrays.items()}


@dataclass(frozen=True)
class _BackendRun:
    """A backend with the network's arrays on it."""

    setup: MeasureSetup
    backend: Backend
    ops: Ops
    params: Arrays
    running: Arrays

    def forward(self, x: Array, target: Array, weights: Array | None = None) -> Measured:
        """Return the output of every layer."""
        network = self.setup.network
        run = Run(True, counter(self.backend.xp, self.setup.seed), weights=weights)
        passed = layer_steps(network.layers, self.ops, network.spread(self.params), self.running, x, run)
        return {("forward", f"layer {s.run.place}, {type(s.layer).__name__}"): s.y for s in passed}

    def gradients(self, rows: list[Any]) -> Measured:
        """Return the loss and its gradients, from the last parameter to the first, by the compiled function."""
        network, ops = self.setup.network, self.ops

        def run(
            params: Arrays, running: Arrays, count: Array, x: Array, target: Array, weights: Array | None = None
        ) -> tuple[Array, Arrays, Arrays]:
            return network.loss_and_gradients(ops, params, running, x, target, weights, Run(True, count))

        count = counter(self.backend.xp, self.setup.seed)
        loss, gradients, _ = self.backend.compile(run)(self.params, self.running, count, *rows)
        last_first = sorted(gradients, key=list(self.params).index, reverse=True)
        return {("loss", "loss"): loss, **{("gradient", name): gradients[name] for name in last_first}}

    def train(self) -> Measured:
        """Return the parameters after the steps, or NaN for all of them where a loss was not finite."""
        setup, backend = self.setup, self.backend
        part = f"after {count_of(setup.steps, 'step')}"
        if not self.params:
            return {}
        fit = FitSettings(optimizer=setup.optimizer, steps=setup.steps, shuffle=False, track_step_size=False)
        own = {"params": self.params, "running": self.running}
        subject = Trainable(
            network=setup.network, backend=backend, ops=self.ops, names=tuple(self.params),
            arrays=lambda: backend.copy(own), seed=setup.seed, evaluator=Evaluator(setup.network, backend, self.ops),
        )  # fmt: skip
        trainer = fit.trainer(subject, setup.rows, None)
        try:
            with fit.bar() as bar:
                state, _ = trainer.run(bar)
        except NonFiniteError:
            return {
                (part, n): backend.asarray(np.full(a.shape, np.nan), backend.dtype) for n, a in setup.params.items()
            }
        return {(part, name): state["params"][name] for name in self.params}
