"""One process of a whole fit, timed from its start to the line that reports its last step."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bpengine.benchmark.fits.entrants import Entrant
from bpengine.benchmark.processes.process import LIMIT, WorkerFailed, environment

# set in many containers: sources in a checkout are then compiled in every process
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


class FitTimes(NamedTuple):
    """Seconds from the start of a process to its last step, its CPU seconds up to then, and those of each call of each fit."""

    process: float
    cpu: float
    calls: list[list[float]]


def run_fit(
    entrant: Entrant, folder: Path, out: Path, caches: Path, *, argument: str | None = None, without: Iterable[str] = ()
) -> FitTimes:
    """Run an entrant's script on the folder of a task, which leaves its weights in `out`; return its times.

    caches: the user's cache folder; bytecode is in a folder beside it, for all entrants, as after an installation. argument:
    replaces the entrant's. without: environment variables to remove.
    Raises WorkerFailed when it ends without an answer, or does not answer in time.
    """
    module, own = entrant.script
    bytecode = ("PYTHONPYCACHEPREFIX", str(caches.with_name("bytecode")))
    more = (*entrant.contender.environment, ("XDG_CACHE_HOME", str(caches)), bytecode)
    command = [sys.executable, "-m", module, str(folder), str(out), own if argument is None else argument]
    surroundings = environment("cpu", "float32", (*without, NO_BYTECODE), more)
    with tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(  # nosec B603 # this Python, a module of ours
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=surroundings
        )
        late = threading.Timer(LIMIT, process.kill)
        late.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - began
            process.communicate()
        finally:
            late.cancel()
            process.kill()
            process.wait()
        if not line or process.returncode:
            errors.seek(0)
            raise WorkerFailed(_reason(errors.read()))
    answer: dict[str, Any] = json.loads(line)
    return FitTimes(seconds, answer["cpu_seconds"], answer["seconds"])


def _reason(written: str) -> str:
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    return lines[-1] if lines else f"no answer (limit {LIMIT:g} s)"
