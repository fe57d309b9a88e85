"""`bench`: the tables are those of the record, the files are whole, and mistakes are found before the work."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from bpengine.benchmark import SUITES, Workload
from bpengine.benchmark.contender_results import ContenderResult
from bpengine.benchmark.floors.cost import step_cost
from bpengine.benchmark.inputs import make_sample
from bpengine.benchmark.measurements import RunMeasurements, Trial
from bpengine.benchmark.results import report
from bpengine.cli.commands.bench import bench_command as bench
from bpengine.system import blas_overrides

ROOT = Path(__file__).parent.parent.parent
TINY = Workload("tiny", (3, 4, 3), 4, epoch_steps=4)


@pytest.fixture
def quickly(monkeypatch):
    """Make everything that takes time as small as it can be."""
    monkeypatch.setattr(bench, "WORKLOADS", {**bench.WORKLOADS, "tiny": TINY})
    monkeypatch.setattr("bpengine.benchmark.floors.roofline.LARGE", {"cpu": (64,)})
    monkeypatch.setattr("bpengine.benchmark.floors.roofline.COPIES", {"cpu": (2**16,)})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    return ("bench", "--quick", "--workloads", "tiny", "--backends", "numpy", "--rounds", "1")


@pytest.fixture
def no_run(monkeypatch):
    monkeypatch.setattr(bench, "run", lambda *_: pytest.fail("run before the check"))


def test_bench_prints_tables_and_writes_three_files(cli, quickly, tmp_path):
    ended = cli(*quickly, "--peers", "sklearn", "--out", tmp_path / "new" / "results")
    assert ended.code == 0, ended.err
    files = {path.suffix: path for path in (tmp_path / "new" / "results").iterdir()}
    assert set(files) == {".json", ".md", ".svg"}
    record = json.loads(files[".json"].read_text())
    assert {"machine", "command", "quick", "bpengine", "workloads", "limits"} <= set(record)
    assert {"CPU", "BLAS of NumPy", "kept from the contenders", "load average at the start"} <= set(record["machine"])
    (work,) = record["workloads"]
    assert report.title(work) in ended.out
    text = files[".md"].read_text()
    for name, result in work["results"].items():
        assert name in ended.out
        assert report.figures(result["ms_per_step"]) in ended.out
        assert report.figures(result["ms_per_step"]) in text
    assert f"({files['.svg'].name})" in text
    assert "tiny" in ended.err


def _result(name):
    return ContenderResult(name=name, first_seconds=0.5, steps=4, seconds=[1.0], losses=[2.0], resident=[None])


@pytest.fixture
def ran(monkeypatch):
    """Have the run found two contenders that agree, without running anything; give what was found."""
    results = {name: _result(name) for name in ("numpy", "sklearn")}
    about = {"title": "a title", "versions": {}, "note": "a note", "start_seconds": 0.1}
    measurements = RunMeasurements(dict.fromkeys(results, about), {"keras": "keras not installed. Install it."})
    measurements.trials["tiny"] = Trial(
        workload=TINY, steps=4, cost=step_cost(make_sample(TINY)), results=results, failures={}, memory={}
    )
    monkeypatch.setattr(bench, "run", lambda plan, say, keep: measurements)
    return measurements


@pytest.mark.usefixtures("ran")
def test_what_was_forced_is_recorded(cli, monkeypatch):
    cost = blas_overrides.OverrideCost(
        forced={"OPENBLAS_CORETYPE": "Prescott"}, kernel="Prescott", own_kernel="Haswell", seconds=2.0, own_seconds=1.0
    )
    monkeypatch.setattr(blas_overrides, "cost", lambda: cost)
    printed = json.loads(cli("bench", "--no-files", "--json").out)
    assert printed["machine"]["kept from the contenders"].startswith("OPENBLAS_CORETYPE=Prescott")
    assert "kernel Haswell" in printed["machine"]["BLAS of NumPy"]


@pytest.mark.usefixtures("ran")
def test_bench_names_missing_contenders_and_says_that_no_blas_setting_is_forced(cli, monkeypatch):
    monkeypatch.setattr(blas_overrides, "cost", lambda: None)
    ended = cli("bench", "--no-files")
    assert ended.code == 0
    assert "not run: keras: keras not installed. Install it." in ended.out
    assert re.search(r"kept from the contenders +nothing$", ended.out, re.MULTILINE)


def test_a_contender_that_is_not_valid_is_code_1_and_has_no_figures(cli, ran):
    ran.trials["tiny"].results["sklearn"].losses = [1.0]
    ran.trials["tiny"].results["third"] = _result("third")
    ran.about["third"] = ran.about["numpy"]
    ended = cli("bench", "--no-files")
    assert ended.code == 1
    assert "sklearn is not valid: loss 1 after 4 steps, the others 2" in ended.out
    (row,) = (line for line in ended.out.splitlines() if line.startswith("sklearn") and line.endswith("valid"))
    assert row.split() == ["sklearn", "not", "valid"]


def test_a_contender_that_failed_is_code_1(cli, ran):
    ran.trials["tiny"].failures["sklearn"] = "boom"
    ran.trials["tiny"].results.pop("sklearn")
    ended = cli("bench", "--no-files")
    assert ended.code == 1
    assert "sklearn failed: boom" in ended.out


def test_results_are_written_as_they_come(cli, ran, monkeypatch, tmp_path):
    """A run that is cut off after its first workload has left the record and the page of that; the part is in the name."""

    def cut_off(plan, say, keep):
        assert plan.limit_seconds == 400
        keep(ran)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", cut_off)
    cli("bench", "--out", tmp_path, "--part", "full small", "--seconds", "400")
    names = {path.suffix: path for path in tmp_path.iterdir()}
    assert set(names) == {".json", ".md"}
    assert all(path.stem.endswith("-cpu-full-small") for path in names.values())
    assert [work["name"] for work in json.loads(names[".json"].read_text())["workloads"]] == ["tiny"]
    assert "## tiny" in names[".md"].read_text()


@pytest.mark.usefixtures("ran")
def test_the_gpu_is_in_the_record_and_in_the_names_of_the_files(cli, monkeypatch, tmp_path):
    fields_of_gpu = {"name": "NVIDIA H200", "driver_version": "580.1", "clocks.sm": "1980 MHz"}
    monkeypatch.setattr(
        "bpengine.benchmark.nvidia_smi.ask", lambda fields: {k: v for k, v in fields_of_gpu.items() if k in fields}
    )
    ended = cli("bench", "--device", "gpu", "--out", tmp_path)
    assert ended.code == 0, ended.err
    (path,) = tmp_path.glob("*.json")
    assert path.stem.endswith("-nvidia-h200-gpu")
    machine = json.loads(path.read_text())["machine"]
    assert (machine["GPU"], machine["driver"], machine["GPU at the start"]) == (
        "NVIDIA H200",
        "580.1",
        "clocks.sm 1980 MHz",
    )


def test_each_device_has_its_default():
    def chosen(device):
        return bench.make_plan(None, None, None, device, quick=False).workloads

    assert {work.name for work in chosen("gpu")} >= {"mlp-b65536", "xor"}
    assert "mlp-b65536" not in {work.name for work in chosen("cpu")}
    plan = bench.make_plan(None, None, ["gpu-small"], "gpu", quick=False, precisions=["tf32"])
    assert {contender.precision for contender in plan.contenders} == {"tf32"}
    assert len(plan.workloads) == 4


def what_make_runs(target):
    """Return the commands of a target, also where `make` itself runs these tests, whose variables would change them."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", "-n", target]
    return subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout


PARTS = [f"{kind}-{size}" for size in ("small", "large") for kind in ("full", "tf32", "bfloat16", "autotune")]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_gpu_bench_can_be_asked_for(cli, ran, monkeypatch, tmp_path, part):
    """As `make` would run it, up to the run itself: names exist, losses have a reference, files have names of their own."""
    limit, seconds, *command = shlex.split(what_make_runs(f"gpu-bench-{part}").replace("\\\n", ""))
    assert limit == "timeout"
    assert int(seconds) < 540
    plans = []
    monkeypatch.setattr(bench, "run", lambda plan, say, keep: plans.append(plan) or ran)
    ended = cli(*command[command.index("bench") :], "--out", tmp_path)
    assert ended.code == 0, ended.err
    (plan,) = plans
    assert {work.name for work in plan.workloads} == {work.name for work in SUITES[f"gpu-{part.split('-')[1]}"]}
    assert {"jax-scan", "torch-graph"} <= {c.name for c in plan.contenders}
    assert any(c.name.startswith("cupy") for c in plan.contenders)
    assert part.startswith(("full", "autotune")) or any(c.precision == part.split("-")[0] for c in plan.contenders)
    assert plan.limit_seconds < int(seconds)
    assert all(path.stem.endswith(f"-gpu-{part}") for path in tmp_path.iterdir())


def test_gpu_bench_is_all_of_its_parts():
    commands = what_make_runs("gpu-bench")
    assert all(f"--part {part} " in commands for part in PARTS)
    assert "bench/many_fits.py --backends jax" in commands


@pytest.mark.usefixtures("no_run")
def test_results_are_not_overwritten(mistake, monkeypatch, tmp_path):
    files = bench.Files(tmp_path, "a cpu", "cpu", quick=True, force=False)
    files.page.write_text("precious")
    monkeypatch.setattr("bpengine.system.hardware.cpu", lambda: {"model": "A CPU", "cores": 1, "usable": 1})
    assert "exists already" in mistake("bench", "--quick", "--out", tmp_path)
    assert "--force" in mistake("bench", "--quick", "--out", tmp_path)
    assert files.page.read_text() == "precious"
    assert bench.Files(tmp_path, "a cpu", "cpu", quick=True, force=True).page == files.page


@pytest.mark.usefixtures("no_run")
@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--backends", "nunpy"], "unknown backend on the CPU 'nunpy'. Did you mean 'numpy'"),
        (["--peers", "troch"], "unknown peer on the CPU 'troch'. Did you mean 'torch'"),
        (["--peers", "torch-graph"], "unknown peer on the CPU 'torch-graph'"),
        (["--workloads", "smal"], "unknown workload 'smal'. Did you mean 'small'"),
        (["--device", "cpp"], "unknown device 'cpp'. Did you mean 'cpu'"),
        (["--backends", "", "--peers", ""], "requires at least one contender"),
        (["--workloads", ""], "requires at least one workload"),
        (["--rounds", "0"], "'--rounds'"),
    ],
)
def test_invalid_options_of_bench_are_refused(mistake, args, text):
    assert text in mistake("bench", *args, "--no-files")


def test_a_gpu_that_is_not_there_is_code_2(cli, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ended = cli("bench", "--device", "gpu", "--backends", "cupy", "--peers", "", "--workloads", "small", "--no-files")
    assert ended.code == 2
    assert "bpengine: error: no contender can run on the GPU: cupy: " in ended.err


def test_help_gives_every_option_a_line(cli):
    ended = cli("bench", "--help")
    assert "  bpengine bench --quick" in ended.out
    listed = [line.split() for line in ended.out.partition("Options:")[2].splitlines() if line.strip().startswith("--")]
    assert len(listed) >= 10
    assert all(len(words) > 1 for words in listed)
    assert max(map(len, ended.out.splitlines())) <= 100


def test_groups_and_workloads_are_chosen_by_name():
    names = [work.name for work in bench.chosen_workloads(["xor", "small", "main"])]
    assert names == ["xor", "small", "mlp-b128", "mlp-b1024", "wide-sgd", "wide-adam"]
