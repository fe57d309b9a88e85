"""The CUDA target launch by launch, on the CPU: each stored array is NumPy's, and planted faults are noticed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
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
from tests.backends.cuda_host.oracle import Disagreement, Oracle
from tests.backends.cuda_host.player import ORDERS, Player, WouldNotRun, compiler_missing
from tests.tolerances import reduced_rtol

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
    case: Network, dtype: str, steps: int = STEPS, rate: float = 1e-2, *, precision: str = "", ordered: bool = True
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
    written = write_cuda(make_plan(recorded, CudaTarget(precision or dtype), ordered=ordered))
    return Training(written, step, state, (x, y), order, lr, backend)


@pytest.mark.usefixtures("cpu_build")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_launch_computes_numpys_result(name: str, dtype: str) -> None:
    trained = training(NETWORKS[name], dtype)
    oracle = Oracle(trained.text)
    try:
        trained.play(oracle)
    except Disagreement as error:  # without the frames: a call's repr writes every path through its graph
        pytest.fail(str(error), pytrace=False)
    assert not oracle.unchecked
    assert min(oracle.exact, oracle.close) >= STEPS * 5
    assert oracle.worst > 0  # sums in another order: their last places were looked at
    assert oracle.replays == STEPS


@pytest.mark.thorough(keep=2)
@pytest.mark.usefixtures("cpu_build")
@pytest.mark.parametrize("name", NETWORKS)
def test_in_bfloat16_every_pass_writes_rounded_operands(name: str) -> None:
    """Operands are NumPy's, rounded to the nearest, to the bit; a weight's copy is that of the weight after each step."""
    exact, trained = (training(NETWORKS[name], "float32", precision=p) for p in ("float32", "bfloat16"))
    between = name == "gelu, norms, dropout"  # where a product's result is itself an operand, a pass rounds it
    assert len(trained.text.calls) <= len(exact.text.calls) + between
    oracle = Oracle(trained.text)
    try:
        state, reports = trained.play(oracle)
    except Disagreement as error:
        pytest.fail(str(error), pytrace=False)
    assert not oracle.unchecked
    products = [call.product for call in trained.text.calls if call.product]
    assert products
    assert all(product.rounded for product in products)
    wanted, losses = trained.wanted
    assert state.keys() == wanted.keys()
    limit = reduced_rtol("bfloat16", STEPS)
    np.testing.assert_allclose(reports["loss"], losses["loss"], rtol=limit)
    assert (reports["loss"] != losses["loss"]).all()


@pytest.mark.usefixtures("cpu_build")
def test_in_bfloat16_the_full_batch_is_rounded_once_before_a_run() -> None:
    case = NETWORKS["relu, Adam"]
    trained, exact = (training(case, "float32", precision=p, ordered=False) for p in ("bfloat16", "float32"))
    assert exact.text.begin is None
    assert trained.text.begin is not None
    state, reports = trained.play(Player())
    first, losses = trained.play(Player(ORDERS["greedy"]))
    assert all(state[path].tobytes() == first[path].tobytes() for path in state)
    np.testing.assert_array_equal(reports["loss"], losses["loss"])
    np.testing.assert_allclose(reports["loss"], trained.wanted[1]["loss"], rtol=reduced_rtol("bfloat16", STEPS))


COLUMNS_FAULT = "sums of columns without the last warp"  # rows that take a block each leave that warp none
# what a fault does to the text: a pattern, and what stands there instead
PLANTED = {
    "no barrier before a row's room is written": (r"(if \(W <= 32\) return x;\s*\\\n\s*)__syncthreads\(\);", r"\1"),
    "no barrier before a row's room is read": (r"(room\[threadIdx\.x / 32\] = x;\s*\\\n\s*)__syncthreads\(\);", r"\1"),
    "no barrier after a block's room is written": (r"(room\[threadIdx\.x\] = x;\s*\\\n\s*)__syncthreads\(\);", r"\1"),
    "a step of the butterfly left out": (r"int o = W / 2; o; o >>= 1", "int o = W / 4; o; o >>= 1"),
    "a maximum that is the minimum": (r"(T maximum\(T a, T b\) \{ return )[^;]*;", r"\1(a <= b) ? a : b;"),
    "the last row of a block left out": (r"const bool ok = i < r1;", "const bool ok = i < r1 - 1;"),
    COLUMNS_FAULT: (r"int y = 1; y < 8; \+\+y\) s \+=", "int y = 1; y < 7; ++y) s +="),
    "the tail forgets the halt": (r"run->stop = 1", "run->stop = 0"),
    "the head takes the rows of the step before": (r"order\[step \* batch", "order[(step ? step - 1 : 0) * batch"),
}


@cache
def narrow() -> Training:
    """Return a training whose sums of columns take eight rows for each block: one for each of its warps."""
    return training(NETWORKS["relu, Adam"], "float64")


@cache
def halting() -> Training:
    """Return a training that halts in its fourth step of six."""
    losses = training(WIDE, "float64", 6, 0.1).wanted[1]["loss"]
    trained = training(replace(WIDE, loss_below=float(losses[[0, 3]].mean())), "float64", 6, 0.1)
    assert len(trained.wanted[1]["loss"]) == 4
    return trained


def noticed(trained: Training, pattern: str = "", instead: str = "") -> list[str]:
    """Return what shows that a text does not do what it should."""
    changed = []

    def change(text: str) -> str:
        other = re.sub(pattern, instead, text) if pattern else text
        changed.append(other != text)
        return other

    wanted, reports = trained.wanted
    faults, before = [], None
    for name, order in ORDERS.items():
        try:
            got, got_reports = trained.play(Player(order, change))
        except WouldNotRun as error:
            faults.append(f"{name}: {error}")
            continue
        before = before or got
        if any(got[path].tobytes() != before[path].tobytes() for path in got):
            faults.append(f"{name}: depends on the order of threads")
        if len(got_reports["loss"]) != len(reports["loss"]):
            faults.append(f"{name}: {len(got_reports['loss'])} steps")
        away = max(np.linalg.norm(got[p] - w.astype("f8")) / (np.linalg.norm(w) + 1e-3) for p, w in wanted.items())
        if not away < 1e-9:
            faults.append(f"{name}: {away:.0e} from NumPy")
    assert set(changed) == {bool(pattern)}
    return faults


@pytest.mark.usefixtures("cpu_build")
def test_generated_code_gives_the_same_result_in_every_thread_order() -> None:
    assert noticed(halting()) == noticed(narrow()) == []


@pytest.mark.thorough(keep=1)
@pytest.mark.usefixtures("cpu_build")
@pytest.mark.parametrize("fault", PLANTED)
def test_comparison_finds_a_planted_fault(fault: str) -> None:
    assert noticed(narrow() if fault == COLUMNS_FAULT else halting(), *PLANTED[fault])
