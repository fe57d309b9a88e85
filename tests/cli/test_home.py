"""No home: HOME unset or gone, a user whom the system does not know, a cache folder that is none. All goes on without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpengine.benchmark.results import record

RESULTS = Path(record.__file__).parents[3] / "bench" / "results"
USE = """
import json, sys, warnings

if sys.argv[1] == "unknown":  # as in a container whose user has no line in /etc/passwd
    import pwd
    def unknown(*given):
        raise KeyError("uid not found")
    pwd.getpwuid = pwd.getpwnam = unknown

import numpy as np
import bpengine as bp
from bpengine_numpy import NumpyBackend
from bpengine.cli import main

NumpyBackend.patience = float("-inf")
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    model = bp.Model(bp.Network(2, [bp.Dense(2), bp.Dense(1)], "mean_squared_error"), seed=0)
    model.fit(np.eye(2), np.ones(2), epochs=2)
from bpengine_numpy.llvm_target.object_code import loop_cache
assert loop_cache._loaded, "not compiled"
print(json.dumps([str(one.message) for one in told]))
model.save("model")
net = ["explain", "2-2-1", "--data", "xor"]
pictures = [*net, "--figure", "network", "--out", "network.png"]
for command in (
    ["doctor"], ["doctor", "--clear-cache"], ["predict", "model", "data.csv", "--no-target"],
    [*net, "--html", "step.html"], [*net, "--graph", "svg", "--out", "graph.svg"], [*net, "--receipt", "receipt.json"],
    *([pictures] if "pictures" in sys.argv else []),
):
    assert main(command) == 0, command
if "pictures" in sys.argv:
    from pathlib import Path
    from bpengine.benchmark.results import record
    from bpengine.cli.commands.bench.bench_files import Files
    made = record.read(sorted(Path(sys.argv[-1]).glob("*cpu.json"))[0])
    Files(Path("bench/results"), "a CPU", "cpu", quick=True, force=False).write(made)
"""
NONE, KEPT, NOT_KEPT = "no cache folder is known", "", "cannot be kept"


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="homes of POSIX")
@pytest.mark.parametrize(
    ("user", "home", "cache", "said"),
    [
        ("unknown", None, None, NONE),
        ("unknown", None, "{}/made/later", KEPT),
        ("unknown", None, "{}/file/folder", NOT_KEPT),
        ("unknown", "{}/nowhere", None, KEPT),
        ("unknown", "{}/nowhere", "", KEPT),
        ("known", "{}/file", None, NOT_KEPT),
        ("known", "/proc/nowhere", None, NOT_KEPT),
        ("known", "/proc/nowhere", "{}/made", KEPT),
        ("unknown", "/proc/nowhere", "relative/folder", NOT_KEPT),  # which the standard has ignored
        ("unknown", "", None, NONE),
    ],
)
def test_commands_work_without_a_home_folder(
    user: str, home: str | None, cache: str | None, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "file").touch()
    (folder / "data.csv").write_text("a,b\n1,2\n")
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(sys.path)}
    for name, value in (("HOME", home), ("XDG_CACHE_HOME", cache)):
        environment.pop(name, None)
        if value is not None:
            environment[name] = value.format(tmp_path)
    pictures = ["pictures", str(RESULTS)] if cache == "{}/made/later" else []
    command = [sys.executable, "-c", USE, user, *pictures]
    ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    warned = json.loads(ended.stdout.splitlines()[0])
    assert len(warned) == bool(said), warned
    assert all(said in text and "Set HOME" in text if said == NONE else said in text for text in warned)
    left = {path.name for path in folder.iterdir()} - {"data.csv"}
    assert left == {"model", "step.html", "graph.svg", "receipt.json", *(["network.png", "bench"] if pictures else [])}
    assert not list(folder.glob("~*"))
    if said:
        assert "every process that compiles training runs it" in ended.stdout
        assert "keeps nothing of what it compiles" in " ".join(ended.stdout.split())
    elif cache or home:
        assert len(list(tmp_path.glob("*/**/bpengine/loops"))) == 1
