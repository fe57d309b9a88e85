"""`bench`: the tables are those of the record, the files are whole, and mistakes are found before the work."""

import json

import pytest

from bpengine.benchmark import Workload, report
from bpengine.cli import bench

TINY = Workload("tiny", (3, 4, 3), 4, epoch_steps=4)


@pytest.fixture
def quickly(monkeypatch):
    """Make everything that takes time as small as it can be."""
    monkeypatch.setattr(bench, "WORKLOADS", {**bench.WORKLOADS, "tiny": TINY})
    monkeypatch.setattr("bpengine.benchmark.roofline.LARGE", {"cpu": (64,)})
    monkeypatch.setattr("bpengine.benchmark.roofline.COPIES", {"cpu": (4096,)})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    return ("bench", "--quick", "--workloads", "tiny", "--backends", "numpy", "--rounds", "1")


@pytest.fixture
def no_run(monkeypatch):
    monkeypatch.setattr(bench, "run", lambda *_: pytest.fail("run before the check"))


def test_the_tables_and_the_files(cli, quickly, tmp_path):
    ended = cli(*quickly, "--peers", "sklearn", "--out", tmp_path / "new" / "results")
    assert ended.code == 0, ended.err
    files = {path.suffix: path for path in (tmp_path / "new" / "results").iterdir()}
    assert set(files) == {".json", ".md", ".svg"}
    made = json.loads(files[".json"].read_text())
    assert {"machine", "command", "quick", "bpengine", "workloads", "limits"} <= set(made)
    assert {"CPU", "BLAS of NumPy", "kept from the contenders", "load average at the start"} <= set(made["machine"])
    (work,) = made["workloads"]
    assert report.title(work) in ended.out
    text = files[".md"].read_text()
    for name, result in work["results"].items():
        assert name in ended.out
        assert report.figures(result["ms_per_step"]) in ended.out
        assert report.figures(result["ms_per_step"]) in text
    assert f"({files['.svg'].name})" in text
    assert "tiny" in ended.err


def test_what_was_forced_is_recorded_and_kept_from_the_contenders(cli, quickly, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    told = json.loads(cli(*quickly, "--peers", "", "--no-files", "--json").out)
    assert told["machine"]["kept from the contenders"].startswith("OPENBLAS_CORETYPE=Prescott")
    assert "Prescott" not in told["machine"]["BLAS of NumPy"]


def test_a_contender_that_is_not_valid_is_code_1_and_has_no_figures(cli, quickly, monkeypatch):
    monkeypatch.setattr(
        "bpengine.benchmark.record.disagreements", lambda results, dtype: {"sklearn": "loss 1, the others 2"}
    )
    ended = cli(*quickly, "--peers", "sklearn", "--no-files")
    assert ended.code == 1
    assert "sklearn is not valid: loss 1, the others 2" in ended.out
    (row,) = (line for line in ended.out.splitlines() if line.startswith("sklearn  ") and "valid" in line)
    assert row.split() == ["sklearn", "not", "valid"]


@pytest.mark.usefixtures("no_run")
def test_results_are_not_overwritten(mistake, monkeypatch, tmp_path):
    made = bench.Files(tmp_path, "a cpu", "cpu", quick=True, force=False)
    made.page.write_text("precious")
    monkeypatch.setattr("bpengine.cli._machine.cpu", lambda: {"model": "A CPU", "cores": 1, "usable": 1})
    assert "exists already" in mistake("bench", "--quick", "--out", tmp_path)
    assert "--force" in mistake("bench", "--quick", "--out", tmp_path)
    assert made.page.read_text() == "precious"
    assert bench.Files(tmp_path, "a cpu", "cpu", quick=True, force=True).page == made.page


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
def test_mistakes(mistake, args, text):
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


def test_groups_and_workloads_by_name():
    found = [work.name for work in bench.chosen_workloads(["xor", "small", "main"])]
    assert found == ["xor", "small", "mlp-b128", "mlp-b1024", "wide-sgd", "wide-adam"]
