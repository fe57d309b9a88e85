"""The CUDA target launch by launch, on the CPU: each stored array is NumPy's."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from bpengine_cupy.cuda_target.expressions import inline
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.source import CudaPlan, make_plan
from bpengine_numpy.denormals import flushed
from bpengine_steps.recorded import record
from bpengine_steps.signature import Signature, leaves

import bpengine as bp
from bpengine.backend import Backend
from bpengine.training.optimizers import make_optimizer
from bpengine.training.step import StepPlan, init_state, make_step
from tests.backends.cuda_host.oracle import Oracle
from tests.backends.cuda_host.player import Player, compiler_missing

ROWS, STEPS = 120, 3


@pytest.fixture(scope="module")
def cpu_build(request: pytest.FixtureRequest) -> None:
    """Skip where generated text cannot be built for the CPU, or fail if the backend is required."""
    missing = compiler_missing()
    if missing is None and find_spec("cupy_backends") is None:
        missing = "cupy is not installed"
    if missing is not None:
        required = "cupy" in request.config.getoption("--require-backend")
        (pytest.fail if required else pytest.skip)(missing)


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


@dataclass
class Training:
    """A training step with all that it is run on, and its plan."""

    plan: CudaPlan
    step: Any
    state: Any
    data: tuple[Any, ...]
    order: Any
    lr: Any
    backend: Any

    def play(self, player: Player) -> tuple[dict[Any, Any], dict[str, Any]]:
        """Run the plan on a player; the new state's arrays and the reports."""
        program = CudaProgram(self.plan, player, True)
        with np.errstate(all="ignore"), flushed():
            state, reports = program.run(self.state, self.data, self.order, self.lr)
        return dict(leaves(state)), reports

    @property
    def wanted(self) -> tuple[dict[Any, Any], dict[str, Any]]:
        """What NumPy makes of it, step by step as it is written."""
        with flushed():
            state, reports = Backend.run_epoch(self.backend, self.step, self.state, self.data, self.order, self.lr)
        return dict(leaves(state)), reports


def training(given: Network, dtype: str, steps: int = STEPS, rate: float = 1e-2) -> Training:
    rng = np.random.default_rng(3)
    backend = bp.get_backend("numpy", precision=dtype)
    network = bp.Network(given.inputs, list(given.layers), given.loss, given.penalties)
    model = bp.Model(network, backend, dtype=dtype, seed=3)
    names = tuple(model._params)
    plan = StepPlan(
        make_optimizer(given.optimizer),
        names,
        "simultaneous",
        given.clip_norm,
        given.loss_below,
        None,
        given.track,
    )
    params, running = ({k: v.copy() for k, v in tree.items()} for tree in (model._params, model._running))
    state = init_state(model._ops, plan, params, running, np.array([3, 0], np.uint32))
    step = make_step(network, plan, model._ops)
    x = rng.normal(size=(ROWS, given.inputs)).astype(dtype)
    y: Any = rng.normal(size=(ROWS, network.outputs)).astype(dtype)
    if given.classes:
        y = rng.integers(0, given.classes, ROWS).astype(np.int32)
    order = np.stack([rng.permutation(ROWS)[: given.batch] for _ in range(steps)]).astype(np.int32)
    lr = np.linspace(rate, rate / 2, steps).astype(dtype)
    recorded = record(step, state, Signature.of(state, (x, y), order, lr), inline)
    return Training(make_plan(recorded, True), step, state, (x, y), order, lr, backend)


@pytest.mark.usefixtures("cpu_build")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_launch_writes_what_numpy_makes_of_its_operands(name: str, dtype: str) -> None:
    made = training(NETWORKS[name], dtype)
    oracle = Oracle(made.plan)
    made.play(oracle)
    assert not oracle.unchecked
    assert min(oracle.exact, oracle.close) >= STEPS * 5
    assert oracle.worst > 0  # sums in another order: their last places were looked at
    assert oracle.replays == STEPS
