"""`gpu-bench` from its command line to its files, and PyTorch's graph contender as it is captured, on a played GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpengine.benchmark import CONTENDERS
from tests.backends.cuda_host.player import compiler_missing

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CAPTURED = """
import numpy as np
from bpengine.benchmark import Workload
from bpengine.benchmark.inputs import make_sample
from bpengine.benchmark.peers.torch_graph import TorchEager, TorchGraph
batches = Workload("graph-test", (6, 8, 5, 3), 4, epoch_steps=37, learning_rate=0.01)
whole = Workload("whole", (2, 2, 1), 4, optimizer="sgd", epoch_steps=1, activation="sigmoid")
losses = []
for work, argument in ((whole, ""), (batches, ":bfloat16"), (batches, "")):
    peers = [kind(make_sample(work), argument, "gpu") for kind in (TorchGraph, TorchEager)]
    for _ in range(2):
        for peer in peers:
            peer.reset()
            peer.train(74)
        pairs = zip(*(peer.weights() for peer in peers), strict=True)
        print(max(float(np.abs(a - b).max()) for ours, theirs in pairs for a, b in zip(ours, theirs)))
    losses.append(peer.loss())
print(losses[1] != losses[2])
graph = peers[0]
print(sorted(graph._graphs), graph.device_seconds() > 0, float(graph.losses.min()) > 0)
graph._trained = lambda x, y: x.sum().item()
try:
    graph._graph(1)
except RuntimeError as error:
    print(error)
"""


def on_the_machine(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Python on a machine with a played GPU."""
    folders = [HERE, ROOT, ROOT / "backends"]
    path = os.pathsep.join([str(HERE / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.thorough
def test_bench_on_a_gpu_measures_every_contender_and_finds_their_losses_equal(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if compiler_missing():
        required = "cupy" in request.config.getoption("--require-backend")
        (pytest.fail if required else pytest.skip)(f"{compiler_missing()}")
    options = ["--device", "gpu", "--workloads", "small,xor", "--backends", "cupy,cupy-tf32,cupy-bfloat16,jax"]
    ended = on_the_machine(
        "-m", "bpengine", "bench", *options, "--peers", "jax-scan", "--rounds", "2", "--part", "try", "--out", str(tmp_path)
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (path,) = tmp_path.glob("*-played-name-gpu-try.json")
    record = json.loads(path.read_text())
    assert set(record["limits"]) == {"float32", "tf32"} or "roofline, bfloat16" in record["missing"]
    assert [work["name"] for work in record["workloads"]] == ["small", "xor"]
    for work in record["workloads"]:
        assert set(work["results"]) == {"cupy", "cupy-tf32", "cupy-bfloat16", "jax", "jax-scan"}
        assert all(result["valid"] for result in work["results"].values())
        assert work["results"]["cupy"]["device_us_per_step"] > 0
        counted = [work["results"][name]["launches"] for name in ("cupy", "cupy-tf32", "cupy-bfloat16")]
        if importlib.util.find_spec("torch"):
            # 2 L + 1 where short products are computed in passes; in bfloat16 5 L, and one more before a run
            wanted = {"small": [7, 7, 15], "xor": [4, 4, 8]}
            assert [int(count["kernels"]) for count in counted] == wanted[work["name"]]
            assert all(count["launches"] < 0.5 for count in counted)
        else:
            assert counted == [None] * 3
        assert work["clocks"]["clocks.sm"] == "played clocks.sm"
    assert record["machine"]["GPU"] == "played name"
    rows = [line.split() for line in ended.stdout.splitlines() if line.startswith("cupy-bfloat16 ")]
    assert len(rows) == 2 + 1 + 1, ended.stdout  # both workloads, the starts, the versions: in one line each, not cut


def test_pytorchs_graph_trains_as_its_steps_do_and_captures_nothing_that_cuda_refuses(
    request: pytest.FixtureRequest,
) -> None:
    if CONTENDERS["torch-graph"].missing:
        required = {"torch", "torch-graph"} & set(request.config.getoption("--require-peer"))
        (pytest.fail if required else pytest.skip)("torch is not installed")
    ended = on_the_machine("-c", CAPTURED)
    *away, rounded, facts, refused = ended.stdout.splitlines() or [ended.stderr] * 9
    assert max(map(float, away)) < 1e-6
    assert rounded == "True"  # in bfloat16 the losses are others
    assert facts == "[1, 16] True True"
    assert refused.startswith("operation not permitted when stream is capturing: aten._local_scalar_dense")


def test_what_the_backend_says_of_a_machine_holds_on_the_played_one() -> None:
    """Also where CuPy is installed: its NVRTC is asked as on any machine, and a missing one is noticed."""
    ended = on_the_machine(
        "-m", "pytest", "tests/backends/test_cupy_availability.py", "-q", "-n", "0", "-p", "no:cacheprovider"
    )
    assert ended.returncode == 0, ended.stdout
    asked = on_the_machine(
        "-c", "from bpengine_cupy import availability as a; print(a.check().ready, a.compiler_problem())"
    )
    assert asked.stdout.split() == ["True", "None"], asked.stderr
