"""The form of an epoch for a GPU, forced on the CPU: compared with the loop, and its program read as a GPU would get it."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from bpengine_jax import JaxBackend
from bpengine_jax.epoch_plan import LOOP, WINDOWED, EpochPlan, plan_for

import bpengine as bp
from tests.tolerances import agreement_rtol, training_rtol

SHORT = replace(WINDOWED, windows=(4, 2, 1), unroll=2)  # the same, quick to compile
CONSTANT = re.compile(r"%(\w+) = stablehlo\.constant dense<-?\d+> : tensor<i(?:32|64)>")
CONDITION = re.compile(r"cond \{(.*?)\} do \{", re.DOTALL)
COMPARES = re.compile(  # one comparison of what is carried with something, and nothing else
    r"\s*%(\w+) = stablehlo\.compare +LT, %(iterArg\w*), %(\w+), +SIGNED[^\n]*\n\s*stablehlo\.return %\1 [^\n]*\s*"
)


def planned(plan: EpochPlan, precision: str = "float32") -> JaxBackend:
    backend = JaxBackend(precision)
    backend._plan = plan
    return backend


@pytest.mark.parametrize(("platform", "plan"), [("cpu", LOOP), ("tpu", LOOP), ("gpu", WINDOWED), ("cuda", WINDOWED)])
def test_platform_decides_between_loop_and_windows(platform: str, plan: EpochPlan) -> None:
    assert plan_for(platform) is plan


def test_the_backend_asks_with_its_own_device(jax: Any) -> None:
    assert JaxBackend(device="cpu")._plan is LOOP


@pytest.mark.parametrize(
    ("steps", "lengths"),
    [(1, [1]), (7, [1] * 7), (8, [8]), (64, [64]), (73, [64, 8, 1]), (143, [64, 64, 8] + [1] * 7)],
)
def test_a_run_is_cut_into_the_longest_windows_first(jax: Any, steps: int, lengths: list[int]) -> None:
    assert list(import_module("bpengine_jax.windows").cut(steps, WINDOWED.windows)) == lengths


def descent(halt_at: float | None = None) -> Any:
    """Return a step of linear regression whose report tells the step's number; it halts there, and leaves "kept" alone."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        x, y = rows
        error = x @ state["w"] - y
        count = state["count"] + 1
        w = state["w"] - lr * (x.T @ error) / len(x)
        halt = count < 0 if halt_at is None else count == halt_at
        return {"w": w, "count": count, "kept": state["kept"]}, {"loss": (error * error).mean(), "halt": halt}

    return step


def trained(plan: EpochPlan, step: Any, steps: int, with_order: bool, rng: np.random.Generator) -> Any:
    backend = planned(plan)
    x, w = rng.normal(size=(24, 5)), rng.normal(size=5)
    data = backend.asarray(x, "float32"), backend.asarray(x @ w, "float32")
    state = {
        "w": backend.asarray(np.zeros(5), "float32"),
        "count": backend.asarray(0, "int32"),
        "kept": backend.asarray([3.0]),
    }
    order = rng.integers(0, 24, (steps, 6)) if with_order else None
    lr = rng.uniform(0.01, 0.2, steps).astype(np.float32)
    end, reports = backend.run_epoch(step, state, data, order, lr)
    return state, {name: backend.to_numpy(values) for name, values in end.items()}, reports


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("with_order", [True, False])
@pytest.mark.parametrize("halt_at", [None, 1, 2, 4, 5, 7, 8, 9, 10, 11])  # of windows of 4, 4, 2 and 1
def test_windows_do_what_the_loop_does(jax: Any, halt_at: int | None, with_order: bool) -> None:
    results = []
    for plan in (LOOP, SHORT, replace(SHORT, small=0)):
        rng = np.random.default_rng(11)
        results.append(trained(plan, descent(halt_at), 11, with_order, rng)[1:])
    (state, reports), *others = results
    for end, seen in others:
        assert len(seen["loss"]) == (halt_at or 11)
        np.testing.assert_array_equal(seen["halt"], reports["halt"])
        assert end["count"] == state["count"] == (halt_at or 11)
        rtol = training_rtol(np.float32, 11)
        np.testing.assert_allclose(seen["loss"], reports["loss"], rtol=rtol, atol=rtol * reports["loss"].max())
        np.testing.assert_allclose(end["w"], state["w"], rtol=0, atol=rtol * np.abs(state["w"]).max())
        assert end["kept"].tolist() == [3.0]


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("halt_at", [1, 37, 64, 65, 100, 137])
def test_the_windows_of_a_gpu_halt_where_the_loop_does(jax: Any, halt_at: int) -> None:
    seen = [trained(plan, descent(halt_at), 137, True, np.random.default_rng(5))[1:] for plan in (LOOP, WINDOWED)]
    for end, reports in seen:
        assert end["count"] == len(reports["halt"]) == halt_at
        assert reports["halt"].tolist() == [False] * (halt_at - 1) + [True]
    largest = np.abs(seen[0][0]["w"]).max()
    rtol = training_rtol(np.float32, halt_at) + agreement_rtol(np.float32, 6)
    np.testing.assert_allclose(seen[1][0]["w"], seen[0][0]["w"], rtol=0, atol=rtol * largest)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("halt_at", [None, 3, 4, 11])
def test_donated_state_is_freed_and_the_result_is_not(jax: Any, halt_at: int | None) -> None:
    state, end, _ = trained(SHORT, descent(halt_at), 11, True, np.random.default_rng(1))
    assert end["kept"].tolist() == [3.0]
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_state_passed_through_unchanged_is_not_freed(jax: Any) -> None:
    free = import_module("bpengine_jax.windows")._free
    one, other = jax.numpy.ones(3), jax.numpy.ones(3)
    free({"a": one, "b": other}, {"c": one})
    assert other.is_deleted()
    assert one.tolist() == [1.0] * 3


def test_no_more_than_three_lengths_are_compiled_however_long_the_runs(jax: Any) -> None:
    traces = []
    step = descent()

    def traced(state: Any, rows: Any, lr: Any) -> Any:
        traces.append(1)
        return step(state, rows, lr)

    backend = planned(WINDOWED)
    data = backend.asarray(np.ones((24, 5)), "float32"), backend.asarray(np.ones(24), "float32")
    for steps in (1, 9, 64, 71, 137, 200):
        state = {"w": backend.asarray(np.zeros(5), "float32"), "count": backend.asarray(0, "int32"), "kept": ()}
        backend.run_epoch(traced, state, data, np.zeros((steps, 6), int), np.full(steps, 0.1, np.float32))
    windows = backend._epoch(traced, WINDOWED)
    assert len(windows._window._compiled) == 3
    assert len(traces) <= 2 * 3


@pytest.mark.parametrize(
    ("halt_at", "expected"),
    [(None, [4, 4, 2, 1]), (3, [4, 4, 2, 1]), (4, [4, 4]), (5, [4, 4, 2, 1]), (10, [4, 4, 2, 1])],
)
def test_one_window_runs_ahead_and_only_a_halt_inside_one_repeats_it(
    jax: Any, monkeypatch: pytest.MonkeyPatch, halt_at: int | None, expected: list[int]
) -> None:
    windows = import_module("bpengine_jax.windows").Windows(descent(halt_at), SHORT)
    started, inner = [], windows._window

    def counted(state: Any, data: Any, order: Any, lr: Any) -> Any:
        started.append(len(lr))
        return inner(state, data, order, lr)

    monkeypatch.setattr(windows, "_window", counted)
    backend = planned(SHORT)
    monkeypatch.setattr(backend, "_epoch", lambda step, plan: windows)
    state = {"w": backend.asarray(np.zeros(5), "float32"), "count": backend.asarray(0, "int32"), "kept": ()}
    data = backend.asarray(np.ones((24, 5)), "float32"), backend.asarray(np.ones(24), "float32")
    backend.run_epoch(descent(), state, data, None, np.full(11, 0.1, np.float32))
    assert started == expected


def model(plan: EpochPlan, precision: str = "float32") -> bp.Model:
    hidden = [bp.Dense(8, "tanh"), bp.Dropout(0.2), bp.BatchNorm()]
    net = bp.Network(6, [*hidden, bp.Dense(3)], "softmax_cross_entropy")
    return bp.Model(net, planned(plan, precision), dtype=precision, seed=3)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_training_is_the_same_in_both_forms(jax: Any, precision: str, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(50, 6)), rng.integers(0, 3, 50)
    options = {"optimizer": bp.Adam(bp.Cosine(0.01, 28)), "batch_size": 8, "epochs": 4, "stop": bp.LossBelow(0.1)}
    loop, windowed = (model(plan, precision).fit(x, y, **options).loss for plan in (LOOP, SHORT))
    assert len(loop) == len(windowed)
    np.testing.assert_allclose(windowed, loop, rtol=training_rtol(precision, 28))


def programs(jax: Any, monkeypatch: pytest.MonkeyPatch, form: Any, *more: Any, batch: int | None) -> str:
    """Return the program of a real training step's epoch, lowered for a GPU."""
    from jax import export

    calls: list[Any] = []
    trained = model(LOOP)
    run_epoch = trained.backend.run_epoch

    def noted(*args: Any, **options: Any) -> Any:
        calls.append((args[0], jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), args[1:3])))
        return run_epoch(*args, **options)

    monkeypatch.setattr(trained.backend, "run_epoch", noted)
    trained.fit(np.ones((24, 6)), np.zeros(24, int), batch_size=batch, steps=1)
    step, (state, data) = calls[0]
    order = None if batch is None else jax.ShapeDtypeStruct((64, batch), np.int32)
    exported = export.export(jax.jit(form(step)), platforms=["cuda"])
    return str(exported(state, data, order, jax.ShapeDtypeStruct((64,), np.float32), *more).mlir_module())


def count_to_a_constant(module: str) -> list[bool]:
    """Say of every loop of a program whether its condition compares a counter with a constant and reads nothing else."""
    bounded = []
    for function in module.split("func.func")[1:]:
        constants = CONSTANT.findall(function)
        for condition in CONDITION.findall(function):
            read = COMPARES.fullmatch(condition)
            steps = re.findall(rf"stablehlo\.add %{read[2]}, %(\w+) ", function) if read else []
            bounded.append(read is not None and read[3] in constants and any(name in constants for name in steps))
    assert len(bounded) == module.count("stablehlo.while")
    return bounded


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("small", [0, WINDOWED.small])
@pytest.mark.parametrize("batch", [None, 4])
def test_no_loop_of_a_window_depends_on_data(
    jax: Any, monkeypatch: pytest.MonkeyPatch, batch: int | None, small: int
) -> None:
    build_window = import_module("bpengine_jax.windows").build_window
    plan = replace(WINDOWED, small=small)
    module = programs(jax, monkeypatch, lambda step: build_window(step, plan), batch=batch)
    assert count_to_a_constant(module) == [True]


def test_loop_with_an_exit_is_not_taken_for_one_to_a_constant(jax: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_loop = import_module("bpengine_jax.epoch").compile_loop
    number = jax.ShapeDtypeStruct((), np.int32)
    module = programs(jax, monkeypatch, lambda step: compile_loop(step, LOOP), number, batch=4)
    assert count_to_a_constant(module) == [False, False]


def test_loop_to_a_given_number_is_not_taken_for_one_to_a_constant(jax: Any) -> None:
    from jax import export

    lax = jax.lax
    exported = export.export(jax.jit(lambda n: lax.while_loop(lambda i: i < n, lambda i: i + 1, 0)), platforms=["cuda"])
    assert count_to_a_constant(str(exported(jax.ShapeDtypeStruct((), np.int64)).mlir_module())) == [False]


def test_parts_of_a_run_are_compiled_as_the_whole(jax: Any) -> None:
    """One compilation for a run of 8 steps and its parts of 2 and 3 steps: the same program has the same bits."""
    traces, step, backend = [], descent(), planned(LOOP)

    def traced(state: Any, rows: Any, lr: Any) -> Any:
        traces.append(1)
        return step(state, rows, lr)

    data = backend.asarray(np.ones((24, 5)), "float32"), backend.asarray(np.ones(24), "float32")

    def run(steps: int, whole: int | None) -> int:
        state = {"w": backend.asarray(np.zeros(5), "float32"), "count": backend.asarray(0, "int32"), "kept": ()}
        rates = np.full(steps, 0.1, np.float32)
        backend.run_epoch(traced, state, data, np.zeros((steps, 6), int), rates, whole=whole)
        return len(traces)

    first = run(8, None)
    assert [run(2, 8), run(3, 8)] == [first, first]
    assert run(2, None) > first
