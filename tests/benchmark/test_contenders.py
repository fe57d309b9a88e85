"""The GPU's contenders and workloads, by their rows: nothing runs."""

from types import SimpleNamespace

import numpy as np
import pytest

from bpengine.benchmark import CONTENDERS, DEFAULT, GROUPS, SUITES, WORKLOADS, choose
from bpengine.benchmark.inputs import make_sample
from bpengine.benchmark.peers.engine import CupyEvents, Engine
from bpengine.benchmark.processes.worker import Worker
from bpengine.benchmark.workloads import RESIDENT
from bpengine.errors import ConfigError
from tests.benchmark import tiny

SUITE = {  # as the design has it
    "small": ((64, 64, 64, 10), 32),
    "mlp-b128": ((784, 512, 256, 10), 128),
    "mlp-b1024": ((784, 512, 256, 10), 1024),
    "mlp-b8192": ((784, 512, 256, 10), 8192),
    "mlp-b65536": ((784, 512, 256, 10), 65536),
    "wide-adam": ((1024, 1024, 1024, 1024, 10), 1024),
    "huge": ((4096, 4096, 4096, 4096, 10), 1024),
}


def test_gpu_suite_has_its_documented_workloads():
    works = {work.name: work for work in SUITES["gpu"]}
    assert set(works) == {*SUITE, "xor"}
    for name, (sizes, batch) in SUITE.items():
        assert (works[name].sizes, works[name].batch) == (sizes, batch)
        assert (works[name].optimizer, works[name].activation, works[name].dtype) == ("adam", "relu", "float32")
    assert SUITES["gpu"] == SUITES["gpu-small"] + SUITES["gpu-large"]
    assert DEFAULT["gpu"] == ("gpu",)
    assert "large" not in DEFAULT["cpu"]
    assert set(DEFAULT["cpu"]) <= set(GROUPS)


def test_the_rows_of_every_workload_stay_on_the_gpu():
    """The engine trains what is larger than two GiB from the host, and the others would still have it on the device."""
    for work in WORKLOADS.values():
        on = work.on("gpu")
        assert on.rows * on.sizes[0] * np.dtype(on.dtype).itemsize <= RESIDENT
        assert on.epoch_steps % work.epoch_steps == 0
        assert work.on("cpu") is work
    assert WORKLOADS["mlp-b1024"].on("gpu").epoch_steps == 8 * WORKLOADS["mlp-b1024"].epoch_steps
    assert WORKLOADS["mlp-b65536"].on("gpu").epoch_steps == 4


def test_every_contender_on_a_gpu_has_a_row_for_each_precision():
    full = [c for c in CONTENDERS.values() if "gpu" in c.devices and c.precision == "full"]
    for contender in full:
        for precision in ("tf32", "bfloat16"):
            row = CONTENDERS[f"{contender.name}-{precision}"]
            assert row.argument == f"{contender.argument}:{precision}"
            assert (row.devices, row.dtypes, row.precision) == (("gpu",), ("float32",), precision)
            assert precision in row.title
    assert {"cupy", "jax", "jax-scan", "torch", "torch-compile", "torch-autotune", "torch-graph"} <= {
        c.name for c in full
    }


def test_contenders_that_compile_late_have_a_longer_warm_up():
    """The engine on CuPy does after half a second, as it does on NumPy; a turn must not be the one that compiles."""
    assert {c.name for c in CONTENDERS.values() if c.lazy} == {"numpy+fast", "cupy", "cupy-tf32", "cupy-bfloat16"}


def test_contenders_are_chosen_by_precision_unless_they_are_named():
    assert {c.precision for c in choose(None, None, device="gpu")} == {"full", "tf32", "bfloat16"}
    only = choose(None, ["torch-graph"], device="gpu", precisions=["tf32"])
    assert [c.name for c in only] == ["jax-tf32", "cupy-tf32", "torch-graph"]
    with pytest.raises(ConfigError, match=r"unknown precision of contenders 'tf23'. Did you mean 'tf32'"):
        choose(None, None, device="gpu", precisions=["tf23"])


def test_the_engine_is_asked_for_the_precision_of_the_row():
    assert Engine.backend("numpy", "float64").precision == "float64"
    with pytest.raises(ConfigError, match="tf32"):
        Engine.backend("numpy:tf32", "float32")


@pytest.mark.parametrize(("name", "algorithm"), [("jax-scan", "HIGHEST"), ("jax-scan-tf32", "TF32_TF32_F32")])
def test_xla_is_told_how_to_multiply(name, algorithm):
    """In the program for a GPU, lowered here."""
    import jax

    from bpengine.benchmark.peers.optax_scan import OptaxScan

    try:
        peer = OptaxScan(make_sample(tiny.SMALL), CONTENDERS[name].argument, "gpu")
        peer.reset()
        (epoch,) = peer.sample.epochs(tiny.SMALL.epoch_steps)
        traced = peer._run.trace(peer._state, peer._data, epoch.order, epoch.steps)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) >= 8
    wanted = "precision = [HIGHEST, HIGHEST]" if algorithm == "HIGHEST" else "lhs_precision_type = tf32"
    assert all(wanted in line for line in products)


def test_an_epochs_order_is_drawn_once(monkeypatch):
    sample = make_sample(tiny.SMALL)
    first = [epoch.order for epoch in sample.epochs(16)]
    monkeypatch.setattr("bpengine.benchmark.inputs.epoch_order", None)
    again = [epoch.order for epoch in sample.epochs(16)]
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])


def test_events_stand_before_the_first_epoch_and_after_each(monkeypatch):
    """The test needs no CuPy: what it is asked for is written down."""
    happened = []

    class Event:
        def record(self):
            happened.append(self)

        def synchronize(self):
            happened.append("waited")

    def elapsed(begin, end):
        return 1500.0 if (begin, end) == (happened[0], happened[2]) else 0.0

    library = SimpleNamespace(cuda=SimpleNamespace(Event=Event, get_elapsed_time=elapsed))

    class Backend:
        def run_epoch(self, step, *, more):
            happened.append(step)
            return more

    monkeypatch.setattr("bpengine.benchmark.peers.engine.import_module", lambda name: library)
    backend = Backend()
    events = CupyEvents(backend)
    events.start()
    assert [backend.run_epoch("first", more=1), backend.run_epoch("second", more=2)] == [1, 2]
    begin, end = happened[0], happened[2]
    assert happened == [begin, "first", end, "second", end]
    assert events.seconds() == 1.5
    events.start()
    backend.run_epoch("third", more=3)
    assert happened[-3:] == [begin, "third", end]


@pytest.mark.parametrize(("code", "patience"), [(".engine:Engine", -np.inf), (".engine:PlainNumpy", np.inf)])
def test_turns_do_not_wait_for_the_compiler(code, patience, tmp_path):
    """The first epoch is what a user meets; the turns that follow measure steps that are compiled, or never are."""
    make_sample(tiny.SMALL).save(tmp_path)
    worker = Worker(code, "numpy", "cpu")
    assert worker.load(tiny.SMALL.to_dict(), str(tmp_path))["first_seconds"] > 0
    assert worker._peer._model.backend.patience == patience
    assert np.isfinite(worker.turn(tiny.SMALL.epoch_steps)["loss"])
