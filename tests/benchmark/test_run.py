"""Whole runs, with real processes: the losses agree, and what misbehaves is found out."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bpengine.benchmark import CONTENDERS, Plan, choose, nvidia_smi, run, runner
from bpengine.benchmark.contenders import Contender
from bpengine.benchmark.inputs import make_sample
from bpengine.benchmark.peers import launches
from bpengine.benchmark.processes import process
from bpengine.benchmark.processes.process import Process, WorkerFailed, environment
from bpengine.benchmark.processes.worker import Worker
from bpengine.benchmark.results import record
from bpengine.benchmark.steps import launch_counts, peak_memory, rounds
from bpengine.benchmark.workloads import Workload
from bpengine.errors import BackendUnavailable, ConfigError
from bpengine.i18n import language
from bpengine.i18n.language import localized
from tests.benchmark import tiny
from tests.language.english_words import english

QUICKLY = {"rounds": 2, "turn_seconds": 0.001, "budget_seconds": 1.0}
RECORD = {
    *("schema", "date", "device", "rounds", "extra_rounds", "turn_seconds"),
    *("contenders", "missing", "left_out", "limits", "workloads"),
    *("fits", "fit_contenders"),
}
WORK = {
    *("name", "sizes", "batch", "optimizer", "dtype", "epoch_steps", "steps", "learning_rate", "activation", "seed"),
    *(
        "group",
        "rows",
        "flops",
        "product_flops",
        "bytes",
        "memory_needed",
        "floor_ms",
        "yardstick",
        "results",
        "failures",
        "clocks",
    ),
}
RESULT = {
    *("loss", "seconds", "ms_per_step", "samples_per_second", "spread", "first_seconds", "idle_cpu_seconds"),
    *("resident_growth", "valid", "why_not", "times_yardstick", "share_of_floor", "memory"),
    *("precision", "device_us_per_step", "launches"),
}


def run_benchmark(workloads, contenders, **settings):
    plan = Plan(workloads, contenders, **{**QUICKLY, **settings})
    return record.make(plan, run(plan), {})


@pytest.fixture(scope="module")
def whole(pytestconfig):
    """Give the record of contenders of the CPU on two tiny workloads: of all that are installed with `--thorough`."""
    lacking = [c.name for c in choose(None, None) if c.missing]
    required = pytestconfig.getoption("--require-peer")
    assert not set(required) & set(lacking), f"required and not installed: {set(required) & set(lacking)}"
    contenders = [c for c in choose(None, None) if c.name != "torch-compile" and c.name not in lacking]
    if not pytestconfig.getoption("--thorough"):  # one of each kind: a process and its imports are what takes time
        contenders = [c for c in contenders if c.name in ("numpy", "jax-scan", "sklearn", *required)]
    return run_benchmark([tiny.SMALL, tiny.WHOLE], contenders)


HONEST = (CONTENDERS["numpy"], CONTENDERS["jax"], replace(CONTENDERS["numpy"], name="again"))
CROOKED = tuple(map(tiny.contender, (tiny.WrongRate, tiny.WrongOrder, tiny.Refuses, tiny.Dies)))
ABSENT = Contender(
    "absent", "Absent", ".engine:Engine", needs=("no_such_package",), cure="Install it.", devices=("cpu",)
)
BROKEN = Contender("broken", "Broken", "no_such_module:Peer", needs=(), cure="", devices=("cpu",))


@pytest.fixture(scope="module")
def double():
    """Give the record of a run in float64: some contenders misbehave, two cannot start."""
    return run_benchmark([tiny.DOUBLE], [*HONEST, *CROOKED, ABSENT, BROKEN])


@pytest.mark.thorough
def test_every_contender_that_is_installed_reaches_the_same_loss(whole):
    assert record.sound(whole), [(work["failures"], work["results"]) for work in whole["workloads"]]
    single, full = whole["workloads"]
    assert {"numpy", "jax", "jax-scan", "jax-step", "sklearn"} <= set(single["results"]) == set(full["results"])
    for work in whole["workloads"]:
        (loss,) = {round(result["loss"], 4) for result in work["results"].values()}
        assert 0 < loss < 3


def test_the_record_is_complete_and_json(whole):
    assert set(whole) == RECORD
    again = json.loads(json.dumps(whole, allow_nan=False))
    for work in again["workloads"]:
        assert set(work) == WORK
        for result in work["results"].values():
            assert set(result) == RESULT
            assert len(result["seconds"]) == 2
            assert result["samples_per_second"] == pytest.approx(1e3 * work["batch"] / result["ms_per_step"])
    assert set(again["limits"]) == {"float32"}
    assert again["contenders"]["numpy"]["versions"]["numpy"]


def test_shares_are_floor_over_the_shortest_time(whole):
    for work in whole["workloads"]:
        assert set(work["floor_ms"]) == {"products", "own_products", "calls"}
        for result in work["results"].values():
            for floor, share in result["share_of_floor"].items():
                shortest = 1e3 * min(result["seconds"]) / work["steps"]
                assert share == pytest.approx(work["floor_ms"][floor] / shortest)


def test_ratios_are_to_the_yardstick(whole):
    for work in whole["workloads"]:
        assert work["yardstick"] == "jax-scan"
        assert work["results"]["jax-scan"]["times_yardstick"] == 1.0


def test_turns_have_whole_epochs_or_the_steps_that_were_fixed(whole):
    small, full = whole["workloads"]
    assert small["steps"] % tiny.SMALL.epoch_steps == 0
    assert full["steps"] == tiny.WHOLE.steps


@pytest.mark.thorough
def test_memory_is_watched_where_it_is_asked_for(whole, monkeypatch):
    monkeypatch.setattr(peak_memory, "WARM", 0.1)
    (watched,) = run_benchmark([tiny.DOUBLE], HONEST, memory=frozenset([tiny.DOUBLE.name]))["workloads"]
    assert set(watched["results"]) == {contender.name for contender in HONEST}
    for result in watched["results"].values():
        assert result["memory"]["times_needed"] == result["memory"]["growth"] / watched["memory_needed"]["total"]
    assert all(result["memory"] is None for work in whole["workloads"] for result in work["results"].values())


@pytest.mark.thorough
def test_contenders_run_in_float64(double):
    (work,) = double["workloads"]
    assert all(work["results"][contender.name]["valid"] for contender in HONEST)
    assert work["yardstick"] == "numpy"
    assert set(double["limits"]) == {"float64"}


def test_wrong_learning_rate_or_order_makes_a_result_invalid(double):
    results = double["workloads"][0]["results"]
    assert {name for name, result in results.items() if not result["valid"]} == {"WrongRate", "WrongOrder"}
    assert "steps, the others" in results["WrongRate"]["why_not"]
    assert not record.sound(double)


def test_failed_contender_is_reported_and_the_others_continue(double):
    work = double["workloads"][0]
    assert work["failures"] == {"Refuses": "ValueError: no such layer", "Dies": "out of luck"}
    assert {name for name, result in work["results"].items() if result["valid"]} == {c.name for c in HONEST}


def test_results_are_saved_after_each_workload_and_none_starts_too_late(monkeypatch):
    """The time is up once the first workload is done."""
    clock = iter([0.0, 0.0, 0.0, *[100.0] * 1000])
    monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    plan = Plan([tiny.SMALL, tiny.WHOLE], [CONTENDERS["numpy"]], **QUICKLY, limit_seconds=50, memory={tiny.SMALL.name})
    seen = []
    outcome = run(plan, keep=lambda so_far: seen.append(record.make(plan, so_far, {})))
    (kept,) = seen
    assert [work["name"] for work in kept["workloads"]] == [tiny.SMALL.name]
    assert kept["limits"]["float32"]
    assert outcome.left_out == {tiny.WHOLE.name: "not begun within 50 s"}
    assert not outcome.trials[tiny.SMALL.name].memory


def test_every_turn_is_said_with_its_place_in_both_languages():
    heard = []
    plan = Plan([tiny.SMALL], [CONTENDERS["numpy"], replace(CONTENDERS["numpy"], name="again")], **QUICKLY)
    run(plan, lambda what, doing, share: heard.append((what, doing, share)))
    said = [doing for what, doing, _ in heard if what == tiny.SMALL.name]
    assert [line.partition(": ")[0] for line in said if line.startswith(("first", "warming"))] == [
        *("first steps, 1 of 2", "first steps, 2 of 2", "warming up, 1 of 2", "warming up, 2 of 2")
    ]
    rounds = [re.sub(r"\d+ steps", "N steps", line) for line in said if line.startswith("round")]
    assert rounds == [
        f"round {number} of 2, N steps, {place} of 2: bpengine, NumPy alone" for number in (1, 2) for place in (1, 2)
    ]
    shares = [share for *_, share in heard]
    assert shares == sorted(shares)
    language.choose("pt")
    try:
        spoken = [localized(f"{what}: {doing}") for what, doing, _ in heard]
    finally:
        language.choose(None)
    assert english("\n".join(spoken)) == []
    assert f"{tiny.SMALL.name}: aquecimento, 2 de 2: bpengine, só NumPy" in spoken


def test_limits_are_measured_in_every_precision_that_someone_multiplies_in():
    row = replace(CONTENDERS["numpy"], name="fewer", precision="tf32")
    plan = Plan([tiny.DOUBLE, tiny.SMALL], [CONTENDERS["numpy"], row])
    assert plan.precisions == ["float32", "float64", "tf32"]
    assert replace(plan, workloads=[tiny.DOUBLE]).precisions == ["float64"]


def test_a_precision_that_cannot_be_measured_leaves_its_shares_empty():
    """NumPy has no tf32: the row trains in float32 here, and is compared with limits that are not there."""
    row = replace(CONTENDERS["numpy"], name="fewer", precision="tf32")
    document = run_benchmark([tiny.SMALL], [CONTENDERS["numpy"], row])
    results = document["workloads"][0]["results"]
    assert results["numpy"]["share_of_floor"]
    assert (results["fewer"]["share_of_floor"], results["fewer"]["precision"]) == ({}, "tf32")
    assert "not in tf32" in document["missing"]["roofline, tf32"]


@pytest.mark.thorough
def test_launches_are_counted_with_the_workload_of_the_turns(monkeypatch, tmp_path):
    """After all turns and both measurements of the machine: a profiler slows what follows it.

    On processes of the CPU that count: without a GPU there is no kernel to be seen.
    """
    asked, ask = [], Process.ask

    def noted(self, **request):
        asked.append((request["do"], self.contender.name, request.get("workload", {}).get("name"), request.get("warm")))
        if request["do"] == "launches":
            if self.contender.name == "numpy+fast":
                raise WorkerFailed("the profiler is gone")
            return {"launches": {"kernels": 11.0, "launches": 0.5}}
        return ask(self, **request)

    monkeypatch.setattr(Process, "ask", noted)
    monkeypatch.setattr(rounds, "LAZY_SECONDS", 0.05)
    monkeypatch.setattr(nvidia_smi, "ask", lambda fields: {})
    monkeypatch.setattr(process, "DEVICES", {**process.DEVICES, "gpu": process.DEVICES["cpu"]})
    monkeypatch.setattr(Workload, "on", lambda self, device: self)
    monkeypatch.setattr(runner, "_measure", lambda *arguments: asked.append(("measure",)))
    contenders = [CONTENDERS["numpy"], CONTENDERS["numpy+fast"]]
    document = run_benchmark([tiny.SMALL, tiny.WHOLE], contenders, device="gpu")
    counting = asked[max(n for n, request in enumerate(asked) if request == ("measure",)) + 1 :]
    assert [request[:3] for request in counting if request[0] == "load"] == [
        ("load", c.name, w.name) for w in (tiny.SMALL, tiny.WHOLE) for c in contenders
    ]
    assert [request[3] for request in counting if request[0] == "launches"] == [0.0, launch_counts.WARM] * 2
    for work in document["workloads"]:
        assert work["results"]["numpy"]["launches"] == {"kernels": 11.0, "launches": 0.5}
        assert work["results"]["numpy+fast"]["launches"] is None
        assert work["results"]["numpy+fast"]["valid"]
    assert not document["missing"]
    monkeypatch.setattr(runner._Progress, "late", property(lambda self: asked.count(("measure",)) == 4))
    document = run_benchmark([tiny.SMALL], contenders, device="gpu", limit_seconds=100.0)
    assert document["missing"] == {"launches, small-test": "not begun within 100 s"}
    assert document["workloads"][0]["results"]["numpy"]["launches"] is None


def test_launches_are_counted_once_what_compiles_late_has_compiled(monkeypatch, tmp_path):
    make_sample(tiny.SMALL).save(tmp_path)
    worker = Worker(CONTENDERS["numpy"].code, "numpy", "cpu")
    assert "no workload is loaded" in worker.answer("launches", warm=0.0)["error"]
    worker.load(tiny.SMALL.to_dict(), str(tmp_path))
    trained, counted = [], []
    timed = worker._peer.timed
    monkeypatch.setattr(worker._peer, "timed", lambda steps: trained.append(steps) or timed(steps))

    def count(work, steps):
        counted.append((steps, len(trained)))
        work()
        return {"kernels": 1.0}

    monkeypatch.setattr(launches, "count", count)
    assert worker.answer("launches", warm=0.05) == {"launches": {"kernels": 1.0}}
    ((steps, before),) = counted
    assert steps == tiny.SMALL.epoch_steps
    assert before >= 1
    assert len(trained) == before + 1


def test_kernels_copies_and_launches_are_told_apart():
    events = [
        ("cudaLaunchKernel", "CPU"),
        ("cudaMemcpyAsync", "CPU"),
        ("cuLaunchKernelEx", "CPU"),
        ("cudaGraphLaunch", "CPU"),
    ]
    events += [("cudaStreamSynchronize", "CPU"), ("aten::addmm", "CPU"), ("Memcpy HtoD (Pageable -> Device)", "CUDA")]
    events += [("ampere_sgemm_128x64", "CUDA"), ("Memset (Device)", "CUDA"), *[("adam", "CUDA")] * 5]
    assert launches.tally(events, 2) == {"kernels": 3.0, "copies": 1.0, "launches": 2.0}
    assert launches.tally([("cudaLaunchKernel", "CPU")], 2) is None


def test_nvidia_smi_is_only_queried(monkeypatch):
    asked = []

    def answer(command, **_):
        asked.append(command)
        return SimpleNamespace(stdout="NVIDIA H200, 580.1\nNVIDIA H200, 580.1\n")

    monkeypatch.setattr(nvidia_smi.subprocess, "run", answer)
    assert nvidia_smi.ask(("name", "driver_version")) == {"name": "NVIDIA H200", "driver_version": "580.1"}
    assert asked == [["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]]
    assert nvidia_smi.ask(("name",)) == {}, "an answer of another length is none"
    assert nvidia_smi.words({"a": "1", "b": "2"}) == "a 1, b 2"


def test_nvidia_smi_missing_gives_no_facts(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert nvidia_smi.ask(nvidia_smi.CARD) == {}
    assert nvidia_smi.words({}) == "unknown"


def test_a_contender_that_never_answers_is_ended(monkeypatch, tmp_path):
    make_sample(tiny.SMALL).save(tmp_path)
    process = Process(tiny.contender(tiny.Sleeps), "cpu", "float32")
    monkeypatch.setattr("bpengine.benchmark.processes.process.LIMIT", 0.2)
    with pytest.raises(WorkerFailed, match=r"no answer \(limit 0.2 s\)"):
        process.ask(do="load", workload=tiny.SMALL.to_dict(), folder=str(tmp_path))
    assert not process.alive
    process.close()


def test_no_contender_at_all_is_an_error():
    with pytest.raises(
        BackendUnavailable, match=r"no contender can run on the CPU: absent: no_such_package not installed"
    ):
        run_benchmark([tiny.SMALL], [ABSENT])


def test_missing_packages_are_listed_with_the_cure(double):
    assert set(double["missing"]) == {"absent", "broken"}
    assert double["missing"]["absent"] == "no_such_package not installed. Install it."
    assert "No module named 'no_such_module'" in double["missing"]["broken"]


def test_contenders_are_chosen_by_name():
    assert [c.name for c in choose(["jax"], [])] == ["jax"]
    assert [c.name for c in choose([], ["torch-compile"], quick=True)] == ["torch-compile"]
    assert "torch-compile" not in {c.name for c in choose(None, None, quick=True)}
    assert {c.name for c in choose(None, None, device="gpu")} >= {"cupy", "jax", "torch-graph"}
    with pytest.raises(ConfigError, match=r"unknown backend on the CPU 'jex'. Did you mean 'jax'"):
        choose(["jex"], None)
    with pytest.raises(ConfigError, match=r"unknown peer on the CPU 'torch-graph'. Did you mean 'torch'"):
        choose(None, ["torch-graph"])


def test_every_contender_says_what_cures_its_absence():
    for contender in CONTENDERS.values():
        assert bool(contender.needs) == bool(contender.extra or contender.cure)


def test_contenders_run_without_forced_blas_settings(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    seen = environment("cpu", "float64", ("OPENBLAS_CORETYPE",), (("KERAS_BACKEND", "jax"),))
    assert "OPENBLAS_CORETYPE" not in seen
    assert (seen["KERAS_BACKEND"], seen["JAX_ENABLE_X64"], seen["JAX_PLATFORMS"]) == ("jax", "1", "cpu")
    assert environment("cpu", "float32")["OPENBLAS_CORETYPE"] == "Prescott"
