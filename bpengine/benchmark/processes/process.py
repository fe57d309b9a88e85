"""A contender's process on the runner's side: one request and one answer at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from bpengine.benchmark.contenders import Contender
from bpengine.errors import BpError

LIMIT = 300.0  # seconds that one answer may take
DEVICES: Mapping[str, Mapping[str, str]] = {
    "cpu": {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""},
    "gpu": {"JAX_PLATFORMS": "cuda", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
}


class WorkerFailed(BpError, RuntimeError):
    """A contender failed, ended, or did not answer in time; the message says which."""


def environment(
    device: str, dtype: str, without: Iterable[str] = (), more: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """Return the environment of a contender: this one without the named variables, for the device and the dtype."""
    left_out = set(without)
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, **DEVICES[device], "JAX_ENABLE_X64": str(int(dtype == "float64")), **dict(more)}


class Process:
    """A contender in a separate process; `about` is its description of itself, `start_seconds` the time of its start."""

    def __init__(self, contender: Contender, device: str, dtype: str, without: Iterable[str] = ()) -> None:
        self.contender = contender
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        began = time.perf_counter()
        self._process = subprocess.Popen(  # nosec B603 # this Python, a module of ours
            [sys.executable, "-m", "bpengine.benchmark.processes.worker", contender.code, contender.argument, device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment(device, dtype, without, contender.environment),
        )
        try:
            self.about: dict[str, Any] = self._answer()["about"]
        except WorkerFailed:
            self.close()
            raise
        self.start_seconds = time.perf_counter() - began

    @property
    def alive(self) -> bool:
        """True while the process can answer."""
        return self._process.poll() is None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send the contender a request and return its answer; raise WorkerFailed when it fails."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure("it has ended") from None
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        late = threading.Timer(LIMIT, self._process.kill)
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            raise self._failure(f"no answer (limit {LIMIT:g} s)")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer

    def _failure(self, otherwise: str) -> WorkerFailed:
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        written = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return WorkerFailed(written[-1] if written else otherwise)
