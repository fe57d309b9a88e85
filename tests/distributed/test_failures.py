"""The failure matrix: one message for each failure, no wait beyond the limit, a restart with the undisturbed bits."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpengine.distributed import job
from tests.distributed.conftest import Ended, Run
from tests.distributed.failing import RUN

Fail = Callable[..., Ended]


@pytest.fixture
def fail(python: Run, processes: Run) -> Fail:
    """Give what runs a job of three processes that fails in a certain way, on one of them or on all."""

    def run(how: str, rank: str, restarts: int = 0, **environment: str) -> Ended:
        variables = {"BPENGINE_TIMEOUT": "2", **environment}
        return python("tests.distributed.failing", "3", str(restarts), how, rank, **variables)

    return run


@pytest.fixture(scope="session")
def undisturbed(python: Run, processes: Run) -> str:
    """Return what an undisturbed run prints."""
    ended = python("tests.distributed.failing", "3", "0", "nothing", "0")
    assert (ended.code, ended.err) == (0, "")
    return ended.out


MESSAGES: dict[tuple[str, str], tuple[int, str]] = {
    ("raise", "1"): (1, r"bpengine: process 1 of 3 on \S+: Traceback[^\0]*RuntimeError: boom\n"),
    ("raise", "0"): (1, r"bpengine: process 0 of 3 on \S+: Traceback[^\0]*RuntimeError: boom\n"),
    ("raise", "all"): (1, r"bpengine: Traceback[^\0]*RuntimeError: boom\n"),
    ("exit", "2"): (3, r"bpengine: process 2 of 3 on \S+: exit\(3\)\n"),
    ("exit", "0"): (3, r"bpengine: process 0 of 3 on \S+: exit\(3\)\n"),
    ("kill", "0"): (9, r"bpengine: a process was killed \(signal 9\); the others were ended\.\n"),
    ("kill", "1"): (9, r"bpengine: a process was killed \(signal 9\); the others were ended\.\n"),
    ("hang", "1"): (124, r"bpengine: 2 processes waited in vain; stuck: process 1\.\n"),
    ("hang", "0"): (124, r"bpengine: 2 processes waited in vain; stuck: process 0\.\n"),
    ("hang", "all"): (124, r"bpengine: no step for 2 s; the job is killed\.\n"),
    ("other data", "2"): (2, r"bpengine: error: [^\n]* the same data\[0\], got another one on process 2 than[^\n]*\n"),
    ("no number", "all"): (2, r"bpengine: error: x requires finite numbers, got nan in row 60, column 2[^\n]*\n"),
    ("other rate", "1"): (2, r"bpengine: error: [^\n]* the same plan\.optimizer[^\n]* on process 1 than[^\n]*\n"),
    ("other parameters", "1"): (2, r"bpengine: error: [^\n]* the same parameters\[0\], got[^\n]*\n"),
    ("drift", "1"): (
        2,
        r"bpengine: error: [^\n]* another one on processes \[1\] than on process 0 after step 12[^\n]*\n",
    ),
    ("not finite", "all"): (2, r"bpengine: error: training requires a finite loss[^\n]*in the shard of rows[^\n]*\n"),
}


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize(("how", "rank"), MESSAGES)
def test_failure_is_printed_once(how: str, rank: str, fail: Fail) -> None:
    code, message = MESSAGES[how, rank]
    ended = fail(how, rank)
    assert re.fullmatch(message, ended.err), ended.err
    assert ended.err.count("bpengine: ") == 1
    assert (ended.code, ended.out) == (code, "")


# a launcher whose exit code is that of a process that it killed, as MPICH's may be: its process aborted with 1
KILLED_LATER = """import os, signal
from bpengine.distributed.watch import record_exit_code
if code := os.environ.pop("CODE", ""):
    record_exit_code(int(code))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_exit_code_is_that_of_the_process_that_ended_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tmp_path / "mpiexec"
    launcher.write_text(f"#!{sys.executable}\n{KILLED_LATER}")
    launcher.chmod(0o755)
    monkeypatch.setattr(job, "mpiexec", lambda: str(launcher))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    messages: list[str] = []
    run = job.Job(processes=2, command=["train"], say=messages.append, restarts=1).run
    monkeypatch.setenv("CODE", "1")
    assert run() == 1
    monkeypatch.setenv("CODE", "2")  # a mistake: no second attempt
    assert run() == 2
    monkeypatch.delenv("CODE")
    assert run() == 128 + signal.SIGKILL


def test_other_versions_are_one_warning(fail: Fail, undisturbed: str) -> None:
    ended = fail("other versions", "2")
    assert (ended.code, ended.out) == (0, undisturbed)
    warning = r"bpengine: warning: process 2 computes under another numpy than process 0: 1\.0, not [^\n]*\n"
    assert re.fullmatch(warning, ended.err), ended.err


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("how", ["kill", "raise", "hang", "asked to end"])
def test_a_restart_goes_on_from_the_checkpoint_with_the_undisturbed_bits(
    how: str, fail: Fail, undisturbed: str, tmp_path: Path
) -> None:
    environment: dict[str, Any] = {RUN: str(tmp_path / "run")}
    ended = fail(how, "1", 1, **environment)
    assert (ended.code, ended.out) == (0, undisturbed), ended.err
    assert len(re.findall(r"bpengine: attempt 1 of 2 ended with \d+ after [\d.]+ s; starting again\.", ended.err)) == 1
    steps = sorted(int(path.stem[-12:]) for path in (tmp_path / "run").glob("*.ckpt"))
    assert steps == [6, 9, 12]


def test_a_folder_that_cannot_be_written_is_one_line(fail: Fail, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = fail("nothing", "0", **{RUN: str(tmp_path / "file" / "run")})
    assert ended.code == 2
    assert ended.err.count("\n") == ended.err.count("bpengine: error: run requires a folder") == 1, ended.err


def test_a_full_folder_ends_the_job_and_loses_nothing(fail: Fail, undisturbed: str, tmp_path: Path) -> None:
    environment: dict[str, Any] = {RUN: str(tmp_path / "run")}
    ended = fail("full folder", "0", 1, **environment)
    reason = r"error: cannot write '[^\n]*06\.ckpt': No space left on device\. Nothing was changed\."
    # one line, and no second attempt, which would meet the same
    assert re.fullmatch(rf"bpengine: process 0 of 3 on \S+: {reason}\n", ended.err), ended.err
    assert (ended.code, ended.out) == (2, "")
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != ".lock"] == [
        "fit0-step000000000003.ckpt"
    ]
    again = fail("nothing", "0", **environment)
    assert (again.code, again.out, again.err) == (0, undisturbed, "")
