"""A job whose output cannot be printed: it is ended, and the error is raised where the command line reports it."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

import pytest

from bpengine.distributed import job
from bpengine.distributed.job import Job

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a script of POSIX in place of mpiexec")
WORK = (
    "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); print('began', flush=True); time.sleep(300)"
)


class Unread(Exception):
    """What the command line's streams raise where the reader has closed the pipe."""


class Failing(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def write(self, text: str) -> int:
        raise self._error


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start one process in place of several."""
    script = tmp_path / "mpiexec"
    script.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(job, "mpiexec", lambda: str(script))


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Unread()], ids=["full", "unread"])
def test_job_whose_output_cannot_be_printed_is_ended(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, messages = tmp_path / "process", list[str]()
    monkeypatch.setattr(sys, "stdout", Failing(error))
    with pytest.raises(type(error)) as raised:
        Job(processes=1, command=[sys.executable, "-c", WORK, str(file)], say=messages.append).run()
    assert raised.value is error
    assert messages == []
    assert not is_running(int(file.read_text()))


def test_job_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, began = tmp_path / "process", time.monotonic()
    monkeypatch.setattr(job, "GRACE", 0.2)
    monkeypatch.setattr(sys, "stdout", Failing(OSError(28, "No space left on device")))
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WORK}"
    with pytest.raises(OSError, match="No space"):
        Job(processes=1, command=[sys.executable, "-c", deaf, str(file)], say=print).run()
    assert time.monotonic() - began < 250, "it was waited for"
    assert not is_running(int(file.read_text()))


def test_output_of_an_ended_job_is_printed_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    work = "import sys; [print(k, flush=True) for k in range(500)]; print('late', file=sys.stderr)"
    assert Job(processes=1, command=[sys.executable, "-c", work], say=print).run() == 0
    printed, errors = capsys.readouterr()
    assert printed.split() == [str(k) for k in range(500)]
    assert errors == "late\n"
