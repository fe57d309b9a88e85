"""The CUDA target launch by launch, on the CPU: each stored array is NumPy's, and planted faults are noticed."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

from tests.backends.cuda_host.oracle import Disagreement, Oracle
from tests.backends.cuda_host.played_steps import NETWORKS, STEPS, WIDE, Training, training
from tests.backends.cuda_host.player import ORDERS, Player, WouldNotRun, compiler_missing
from tests.tolerances import reduced_rtol


@pytest.fixture(scope="module")
def cpu_build(request: pytest.FixtureRequest) -> None:
    """Skip where generated text cannot be built for the CPU, or fail if the backend is required."""
    missing = compiler_missing()
    if missing is None and find_spec("cupy_backends") is None:
        missing = "cupy is not installed"
    if missing is not None:
        required = "cupy" in request.config.getoption("--require-backend")
        (pytest.fail if required else pytest.skip)(missing)


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
    "the last row of a block left out": (r"const bool ok = i < end;", "const bool ok = i < end - 1;"),
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
