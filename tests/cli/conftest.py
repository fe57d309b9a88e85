"""How the tests run the command line: in this process through `main`, or as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from bpengine.cli import main

PROGRAM = (sys.executable, "-c", "import sys; from bpengine.cli import main; sys.exit(main())")


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Run a command in this process."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*args: object) -> Ended:
        code = main([str(arg) for arg in args])
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def mistake(cli: Callable[..., Ended]) -> Callable[..., str]:
    """Run a command that must end with code 2, nothing on stdout and one line on stderr; return that line."""

    def run(*args: object) -> str:
        ended = cli(*args)
        assert (ended.code, ended.out) == (2, ""), ended
        assert ended.err.startswith("bpengine: error: ")
        assert ended.err.count("\n") == 1
        return ended.err

    return run


def process(*args: str, command: tuple[str, ...] = PROGRAM, **environment: str) -> Ended:
    """Run a command in a process of its own, with pipes for its output."""
    settings = {**os.environ, "COLUMNS": "100", **environment}
    done = subprocess.run([*command, *args], capture_output=True, text=True, env=settings, check=False, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)
