"""Shards on one process: the plain step but for rounding, the same bits eager and compiled, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bpengine_cupy.cuda_target.target import CudaTarget
from bpengine_numpy.llvm_target import compiled_step
from bpengine_steps import tracing
from bpengine_steps.ir import StepGraph
from bpengine_steps.signature import Signature

import bpengine as bp
from bpengine.backend import get_backend
from bpengine.distributed import Solo
from tests.backends.fits import FITS, rows_for
from tests.backends.test_compiled import Both
from tests.tolerances import training_rtol
from tests.training.networks import labelled

SHARDS = [1, 4, 12, 16, 64]


def fitted(name: str, backend: Any, shards: int | None, dtype: str, rng: np.random.Generator, **more: Any) -> Any:
    layers, loss, settings = FITS[name]
    per_shard = [replace(layer, over="shard") if isinstance(layer, bp.BatchNorm) else layer for layer in layers]
    penalties = [bp.L2(0.01), bp.L1(0.01), bp.L2(0.1, per_sample=True)]
    model = bp.Model(bp.Network(4, per_shard, loss, penalties), backend, dtype=dtype, seed=1)
    outputs = model.network.outputs
    x, y = rng.normal(size=(61, 4)), rows_for(loss, 61, outputs, rng)
    weights = rng.uniform(0.0, 2.0, 61) * (rng.random(61) < 0.8)
    settings = {"weights": weights, "batch_size": 20, "epochs": 2, **settings, **more}
    return model, model.fit(x, y, shards=shards, **settings)


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("shards", SHARDS)
@pytest.mark.parametrize("name", [name for name in FITS if "sequential" not in name and "batch norm" not in name])
def test_shards_give_the_plain_step_but_for_rounding(name: str, shards: int, backend_name: str) -> None:
    """Runs eagerly on NumPy; the other backends run as usual."""
    got, expected = (
        fitted(name, backend_name, s, "float64", np.random.default_rng(5), optimizer=bp.SGD(0.01))
        for s in (shards, None)
    )
    tolerance = training_rtol("float64", 8)
    np.testing.assert_allclose(got[1].loss, expected[1].loss, rtol=tolerance)
    np.testing.assert_allclose([e.loss for e in got[1].epochs], [e.loss for e in expected[1].epochs], rtol=tolerance)
    for array, other in zip(got[0].parameters.values(), expected[0].parameters.values(), strict=True):
        np.testing.assert_allclose(array, other, rtol=0, atol=tolerance * np.max(np.abs(other), initial=1.0))


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("shards", SHARDS[1:])
@pytest.mark.parametrize("name", [name for name in FITS if "sequential" not in name])
def test_shards_compile_to_the_same_bits(name: str, shards: int, rng: np.random.Generator) -> None:
    before, many = Both.steps, {"batch_size": 61} if "batch norm" in name else {}  # enough rows for each shard
    fitted(name, Both(precision="float32"), 12 if many else shards, "float32", rng, **many)
    assert Both.steps > before


def test_dropout_does_not_depend_on_shards() -> None:
    x, y = np.ones((32, 6)), np.zeros((32, 6))
    ends = []
    for shards in (None, 1, 4, 7):
        model = bp.Model(bp.Network(6, [bp.Dropout(0.5), bp.Dense(6)], "mean_squared_error"), dtype="float64")
        ends.append(model.fit(x, y, steps=3, shards=shards).loss)
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=training_rtol("float64", 3))


def test_batch_norm_over_shards_is_batch_norm_of_each(rng: np.random.Generator) -> None:
    """Two shards of a step are two batches of which loss, gradient and statistics are averaged."""
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 1))
    network = bp.Network(3, [bp.BatchNorm(over="shard"), bp.Dense(1)], "mean_squared_error")
    model = bp.Model(network, dtype="float64", seed=1)
    halves = []
    for half in (slice(0, 10), slice(10, 20)):
        one = bp.Model(network, dtype="float64", seed=1)
        one.fit(x[half], y[half], steps=1, optimizer=bp.SGD(0.1))
        halves.append({**one.parameters, **one.running})
    model.fit(x, y, steps=1, optimizer=bp.SGD(0.1), shards=2)
    for name, array in {**model.parameters, **model.running}.items():
        np.testing.assert_allclose(array, (halves[0][name] + halves[1][name]) / 2, rtol=training_rtol("float64", 1))


def test_frozen_statistics_stay_to_the_bit(rng: np.random.Generator) -> None:
    x, y = labelled(rng, 50)
    model = bp.Model(bp.Network(5, [bp.BatchNorm(over="shard"), bp.Dense(3)], "softmax_cross_entropy"))
    model.fit(x, y, steps=3, batch_size=20, shards=3)
    before = model.running
    model.fit(x, y, steps=3, batch_size=20, shards=3, freeze="0.*")
    for name, array in model.running.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shards": 0}, r"fit requires shards to be a whole number of at least 1, got 0"),
        ({"shards": 2, "update": "sequential"}, r"shards requires all gradients before an update; update='sequential'"),
        ({"shards": 2}, r"got BatchNorm, which works on those of a batch. Use BatchNorm\(over='shard'\)"),
        ({"comm": 3}, r"fit requires comm to be a communicator such as bp.world\(\), got 3"),
        ({"comm": Solo}, r"fit requires comm to be a communicator such as bp.world\(\), got <class"),
        ({"shards": 2, "batch_size": 3, "over": "shard"}, r"at least 4 rows in a step with BatchNorm, got batch_size=3"),
    ],
)  # fmt: skip
def test_invalid_sharding_settings_are_refused(
    settings: dict[str, Any], message: str, rng: np.random.Generator
) -> None:
    settings = dict(settings)
    over = settings.pop("over", "batch")
    x, y = labelled(rng, 12)
    model = bp.Model(bp.Network(5, [bp.BatchNorm(over=over), bp.Dense(3)], "softmax_cross_entropy"))
    with pytest.raises(bp.ConfigError, match=message):
        model.fit(x, y, steps=1, **settings)
    with pytest.raises(bp.ConfigError, match="unknown over of BatchNorm"):
        bp.BatchNorm(over="batches")


class Two(Solo):
    """A communicator that says there are two processes."""

    size = 2


def test_more_processes_than_shards_are_refused(rng: np.random.Generator) -> None:
    x, y = labelled(rng, 12)
    network = bp.Network(5, [bp.Dense(3)], "softmax_cross_entropy")
    with pytest.raises(bp.ConfigError, match=r"at least as many shards as processes, got shards=None on 2 processes"):
        bp.Model(network).fit(x, y, steps=1, comm=Two())


def test_callbacks_run_on_process_0_alone_and_its_verdict_holds(rng: np.random.Generator) -> None:
    class Other(Solo):
        """Process 1 of 2, whose process 0 says that the fit stops."""

        rank, size, led = 1, 2, 0

        def add_up(self, roots: np.ndarray, result: np.ndarray, shards: int) -> None:
            result[...] = roots[0]

        def lead(self, value: Any) -> Any:
            Other.led += 1
            return True if Other.led > 3 and isinstance(value, bool) else value

    x, y = labelled(rng, 12)
    model = bp.Model(bp.Network(5, [bp.Dense(3)], "softmax_cross_entropy"))
    history = model.fit(x, y, epochs=9, shards=2, comm=Other(), callbacks=lambda model, epoch: pytest.fail("called"))
    assert history.stopped_by == "callback"


def step_outside(function: Any) -> Any:
    backend = get_backend("numpy")
    exchange = backend.outside(function)

    def step(state: Any, rows: Any, lr: Any) -> Any:
        total = exchange(np.stack([state["a"], state["a"] + 1.0]))
        return {"a": backend.plus(total, state["a"])}, {"loss": np.sum(total), "halt": np.sum(total) > 1e9}

    return step


def run_outside(function: Any, steps: int = 3) -> Any:
    state = {"a": np.arange(4.0)}
    rows, lr = (np.zeros((2, 1)),), np.zeros(steps)
    compiled = compiled_step(step_outside(function), state, Signature.of(state, rows, None, lr))
    return compiled.run(state, rows, None, lr)


def test_a_compiled_step_calls_a_function_of_the_host_in_every_step() -> None:
    seen = []

    def add(x: np.ndarray, result: np.ndarray) -> None:
        seen.append(x.copy())
        np.sum(x, axis=0, out=result)

    after, _ = run_outside(add)
    a = np.arange(4.0)
    for x in seen:
        np.testing.assert_array_equal(x, [a, a + 1])
        a = (2 * a + 1) + a
    assert len(seen) == 3
    np.testing.assert_array_equal(after["a"], a)


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), SystemExit(3)])
def test_exception_of_the_host_function_is_raised_once_and_ends_the_run(error: BaseException) -> None:
    calls = []

    def fail(x: np.ndarray, result: np.ndarray) -> None:
        calls.append(1)
        result[...] = 0
        if len(calls) == 2:
            raise error

    with pytest.raises(type(error)):
        run_outside(fail, 1000)
    assert len(calls) == 2


def test_cuda_adds_shards_in_passes() -> None:
    graph = StepGraph()
    x = tracing.TracedArray(graph, graph.add("input", (), (2, 3), np.float32, ("rows", 0)))
    total = tracing.plus(x, x * 2)
    assert total.node.op == "plus"
    lowered = CudaTarget().lower(graph, total.node, total.node.inputs)
    assert lowered is not None
    assert (lowered.op, lowered.info) == ("ufunc", "add")
