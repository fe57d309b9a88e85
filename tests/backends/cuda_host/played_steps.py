"""Training steps of networks of every kind, planned as CUDA C, with all that they are run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from bpengine_cupy.cuda_target.codegen.program_text import CudaText, write_cuda
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.target import CudaTarget
from bpengine_numpy.denormals import flushed
from bpengine_steps.plan import make_plan
from bpengine_steps.signature import Signature, leaves
from bpengine_steps.tracing import record

import bpengine as bp
from bpengine.backend import Backend
from bpengine.training.optimizers import make_optimizer
from bpengine.training.step import StepPlan, init_state, make_step
from tests.backends.cuda_host.player import Player

ROWS, STEPS = 120, 3


@dataclass
class Network:
    """A network, and how it is trained; `classes` 0: targets are numbers."""

    inputs: int
    layers: tuple[bp.Layer, ...]
    loss: str
    batch: int
    classes: int = 0
    optimizer: str = "adam"
    penalties: tuple[Any, ...] = ()
    clip_norm: float | None = None
    loss_below: float | None = None
    track: bool = False


MIXED = (
    bp.Dense(24, "gelu"),
    bp.BatchNorm(),
    bp.Dropout(0.25),
    bp.Residual([bp.Dense(24, "relu"), bp.LayerNorm(), bp.Dense(24)]),
    bp.Dense(7),
)
COLUMNS = (bp.Dense(5, "leaky_relu", bias="column"), bp.Dense(3, bias="column-first"))
NETWORKS = {
    "relu, Adam": Network(
        20, (bp.Dense(48, "relu"), bp.Dense(32, "relu"), bp.Dense(10)), "softmax_cross_entropy", 40, 10
    ),
    "gelu, norms, dropout": Network(16, MIXED, "softmax_cross_entropy", 33, 7),
    "tanh, softmax, clip_norm": Network(
        12,
        (bp.Dense(9, "tanh"), bp.Dense(5, "softmax")),
        "categorical_cross_entropy",
        17,
        5,
        "sgd",
        clip_norm=0.5,
        track=True,
    ),
    "bias columns, L1, L2": Network(4, COLUMNS, "huber", 8, 0, "momentum", (bp.L2(0.01), bp.L1(0.01))),
}
# rows that take several warps, sums over blocks of rows and over everything, ties at 0
WIDE = Network(
    6,
    (bp.Dense(300, "relu"), bp.LayerNorm(), bp.BatchNorm(), bp.Dense(4)),
    "softmax_cross_entropy",
    17,
    4,
    "sgd",
    penalties=(bp.L2(0.01),),
    clip_norm=0.5,
)


@dataclass(repr=False)  # a graph's repr writes every path through it
class Training:
    """A training step with all that it is run on, and its plan as CUDA C."""

    text: CudaText
    step: Any
    state: Any
    data: tuple[Any, ...]
    order: Any
    lr: Any
    backend: Any

    def play(self, player: Player) -> tuple[dict[Any, Any], dict[str, Any]]:
        """Run the plan on a player; the new state's arrays and the reports."""
        program = CudaProgram(self.text, player)
        with np.errstate(all="ignore"), flushed():
            state, reports = program.run(self.state, self.data, self.order, self.lr)
        return dict(leaves(state)), reports

    @property
    def wanted(self) -> tuple[dict[Any, Any], dict[str, Any]]:
        """What NumPy makes of it, step by step as it is written."""
        with flushed():
            state, reports = Backend.run_epoch(self.backend, self.step, self.state, self.data, self.order, self.lr)
        return dict(leaves(state)), reports


def training(
    case: Network,
    dtype: str,
    steps: int = STEPS,
    rate: float = 1e-2,
    *,
    precision: str = "",
    ordered: bool = True,
    epilogues: bool = False,
    dots: bool = False,
) -> Training:
    rng = np.random.default_rng(3)
    backend = bp.get_backend("numpy", precision=dtype)
    network = bp.Network(case.inputs, list(case.layers), case.loss, case.penalties)
    model = bp.Model(network, backend, dtype=dtype, seed=3)
    names = tuple(model._params)
    plan = StepPlan(
        optimizer=make_optimizer(case.optimizer),
        trained=names,
        update="simultaneous",
        clip_norm=case.clip_norm,
        loss_below=case.loss_below,
        track_step_size=case.track,
    )
    params, running = ({k: v.copy() for k, v in tree.items()} for tree in (model._params, model._running))
    state = init_state(model._ops, plan, params, running, np.array([3, 0], np.uint32))
    step = make_step(network, plan, model._ops)
    x = rng.normal(size=(ROWS, case.inputs)).astype(dtype)
    y: Any = rng.normal(size=(ROWS, network.outputs)).astype(dtype)
    if case.classes:
        y = rng.integers(0, case.classes, ROWS).astype(np.int32)
    order = np.stack([rng.permutation(ROWS)[: case.batch] for _ in range(steps)]).astype(np.int32)
    lr = np.linspace(rate, rate / 2, steps).astype(dtype)
    order = order if ordered else None
    recorded = record(step, state, Signature.of(state, (x, y), order, lr))
    written = write_cuda(
        make_plan(recorded, CudaTarget(precision or dtype, epilogues=epilogues, dots=dots), ordered=ordered)
    )
    return Training(written, step, state, (x, y), order, lr, backend)
