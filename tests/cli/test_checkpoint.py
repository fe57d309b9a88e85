"""`train --checkpoint` and `checkpoint`: a run that is killed goes on from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bpengine as bp

TRAIN = ("train", "iris", "--epochs", "30", "--layers", "8", "--batch-size", "16")


def parameters(path: Path) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in bp.load(path).parameters.items()}


def test_resumed_run_ends_with_the_parameters_of_an_undisturbed_one(cli, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole.safetensors", tmp_path / "run"
    assert cli(*TRAIN, "--out", whole).code == 0
    checkpoints = ("--checkpoint", run, "--every", "20")
    assert cli(*TRAIN, *checkpoints).code == 0
    for path in sorted(run.glob("*.ckpt"))[1:]:
        path.unlink()
    out = tmp_path / "resumed.safetensors"
    for _ in range(2):  # once it goes on, once it is over; the file that it wrote itself is written again
        assert cli(*TRAIN, *checkpoints, "--resume", "--out", out).code == 0
        assert parameters(out) == parameters(whole)
    refused = cli(*TRAIN, *checkpoints)
    assert (refused.code, "--resume" in refused.err) == (2, True)
    other = cli(*TRAIN[:-1], "32", *checkpoints, "--resume")
    assert (other.code, "fit.batch_size is 32 here and 16 in the checkpoint" in other.err) == (2, True)


@pytest.mark.parametrize("options", [("--resume",), ("--every", "5")])
def test_checkpoint_options_require_a_folder(cli, options: tuple[str, ...]) -> None:
    run = cli(*TRAIN, *options)
    assert run.code == 2
    assert f"{options[0]} requires --checkpoint FOLDER, got none." in run.err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can answer")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_with_its_exit_code(number: int, code: int, tmp_path: Path) -> None:
    command = (
        sys.executable,
        "-m",
        "bpengine",
        *TRAIN[:3],
        "1000000",
        *TRAIN[4:],
        "--checkpoint",
        "run",
        "--every",
        "50",
    )
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": PATH}
    ) as run:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("run/*.ckpt")) and time.monotonic() < until:
            time.sleep(0.02)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert run.returncode == code
    assert said.count("\n") == 1
    assert said.startswith("bpengine: ended after step ")
    assert said.endswith("the checkpoint is in run. --resume goes on from it.\n")


PATH = os.pathsep.join(sys.path)


def test_checkpoint_command_lists_a_folder_and_writes_a_model_file(cli, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "m.safetensors"
    assert cli("checkpoint", run).code == 2
    cli(*TRAIN, "--checkpoint", run, "--every", "100", "--out", tmp_path / "whole.safetensors")
    listed = cli("checkpoint", run)
    assert (
        "loss of the last step" in listed.out.splitlines()[0]
    )  # logs of epochs hold the mean over the rows of an epoch
    assert (listed.code, listed.out.count("whole"), listed.out.count("ended: 30 epochs")) == (0, 2, 1)
    assert [line["step"] for line in json.loads(cli("checkpoint", run, "--json").out)] == [100, 200, 240]
    assert cli("checkpoint", run, "--model", out).code == 0
    assert parameters(out) == parameters(tmp_path / "whole.safetensors")
    assert cli("checkpoint", run, "--model", out).code == 2  # it is there
    assert cli("checkpoint", run, "--model", out, "--force", "--step", "100").code == 0
    assert parameters(out) != parameters(tmp_path / "whole.safetensors")
    assert cli("checkpoint", run, "--step", "100").code == 2
    newest = sorted(run.glob("*.ckpt"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    damaged = cli("checkpoint", run)
    assert (damaged.code, damaged.out.count("damaged")) == (1, 1)
    taken = cli("checkpoint", run, "--model", out, "--force")
    assert "after step 200" in taken.out
