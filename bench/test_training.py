"""One training step, and one epoch of `Model.fit`, from two units to 4096, from one row to 65,536, up to a million rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bpengine.backend import Backend
from bpengine.benchmark import GROUPS, Workload
from bpengine.benchmark.inputs import Sample, make_sample
from bpengine.benchmark.peers.engine import Engine
from bpengine.training.step import StepPlan, init_state, make_step

STEPS = [*GROUPS["xor"], *GROUPS["main"], *GROUPS["batches"], *GROUPS["widths"]]
EPOCHS = [
    *GROUPS["main"],
    Workload("rows-10000", (64, 64, 10), 1000, epoch_steps=10),
    Workload("rows-1000000", (64, 64, 10), 1000, epoch_steps=1000),
]
TINY = Workload("tiny", (3, 4, 2), 5, epoch_steps=2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each workload in turn, or with --tiny the smallest."""
    works = STEPS if metafunc.function is test_step else EPOCHS
    chosen = [TINY] if metafunc.config.getoption("--tiny") else works
    metafunc.parametrize("work", chosen, ids=lambda work: work.name)


@pytest.fixture
def sample(work: Workload, dtype: str) -> Sample:
    return make_sample(replace(work, dtype=dtype))


def test_step(benchmark: Any, sample: Sample, backend: Backend) -> None:
    """The pure step on one batch, compiled; the state is not donated, so that it can be taken again."""
    work, ops = sample.workload, backend.ops()
    names = ("weight", "bias")
    params = {
        f"{i}.{n}": backend.asarray(a)
        for i, layer in enumerate(sample.initial)
        for n, a in zip(names, layer, strict=True)
    }
    plan = StepPlan(optimizer=work.rule(), trained=tuple(params), update="simultaneous", track_step_size=False)
    state = init_state(ops, plan, params, {}, backend.asarray(np.array([0, 0], np.uint32)))
    rows = backend.asarray(sample.x[: work.batch]), backend.asarray(sample.y[: work.batch])
    rate = backend.asarray(np.array([work.rate], work.dtype))
    step = backend.compile(make_step(work.network(), plan, ops))

    def once() -> Any:
        new, report = step(state, rows, rate)
        backend.synchronize(report["loss"], *new["params"].values())
        return report["loss"]

    assert np.isfinite(backend.to_numpy(once()))
    benchmark.group = f"step {work.name}, {work.dtype}"
    benchmark(once)


def test_epoch(benchmark: Any, sample: Sample, backend: Backend) -> None:
    """A whole epoch as a user runs it, from the initial weights each time."""
    engine = Engine(sample, backend.name, "cpu")
    before = sample.loss(sample.initial)
    benchmark.group = f"epoch {sample.workload.name}, {sample.workload.dtype}"
    benchmark.extra_info["rows"] = sample.workload.rows
    steps = sample.workload.epoch_steps
    benchmark.pedantic(engine.train, args=(steps,), setup=engine.reset, rounds=5, warmup_rounds=2)
    assert engine.loss() < before
