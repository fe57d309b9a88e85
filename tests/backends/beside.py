"""What runs beside a compiled fit, in a program of its own: scripts that tests write to disk and run, for fear of hangs.

A program hangs when it has printed nothing for so many seconds; how long all of its work takes depends on the machine.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np

SECONDS = 500  # without a line of output, after which a program hangs
FITS = """
import sys, threading
import numpy as np
import bpengine as bp
from bpengine_numpy import NumpyBackend
from bpengine_numpy.llvm_target.object_code import loop_cache

TINY, ONE = np.full((512, 512), 1e-39, np.float32), np.eye(512, dtype=np.float32)

class Compiled(NumpyBackend):
    patience = float("-inf")

class AsWritten(NumpyBackend):
    patience = float("inf")

def fit(seed, backend=Compiled, epochs=3):
    layers = [bp.Dense(400, "relu"), bp.Dense(300, "tanh"), bp.Dense(3)]
    model = bp.Model(bp.Network(256, layers, "softmax_cross_entropy"), backend(), seed=seed)
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(1024, 256)).astype(np.float32), draw.integers(0, 3, 1024)
    losses = model.fit(x, y, batch_size=256, epochs=epochs, optimizer="adam").loss.tolist()
    assert backend is AsWritten or loop_cache._loaded, "not compiled"
    return losses

def denormals_are_what_they_are():
    found = []
    def look():
        found.append(bool(((TINY @ ONE) > 0).all()) and bool((TINY * np.float32(0.5) > 0).all()))
    look()
    other = threading.Thread(target=look)
    other.start()
    other.join()
    assert found == [True, True], found
"""


def lends() -> bool:
    """Say whether NumPy multiplies with an OpenBLAS whose queue others can call: its wheels from 2.5 on hide it."""
    core = import_module("numpy._core._multiarray_umath").__file__
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    return sys.platform == "linux" and "openblas" in blas and hasattr(ctypes.CDLL(core), "exec_blas")


def run(script: str, folder: Path, *arguments: str, silence: float = SECONDS, **environment: str) -> str:
    """Run a program that begins with FITS; return what it prints. It must end well, and never be silent for so long."""
    path, errors = folder / "program.py", folder / "errors"
    path.write_text(FITS + script)
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, "-u", "-W", "ignore", str(path), *arguments]
    with (
        errors.open("w") as stderr,
        subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        lines = SimpleQueue[str | None]()
        Thread(target=hear, args=(process.stdout or (), lines), daemon=True).start()
        printed = list[str]()
        try:
            while (line := lines.get(timeout=silence)) is not None:
                printed.append(line)
        except Empty:
            process.kill()
            raise AssertionError(f"silent for {silence} s after {printed[-3:]}: {errors.read_text()}") from None
    assert process.returncode == 0, errors.read_text()
    return "".join(printed)


def hear(stdout: Iterable[str], lines: SimpleQueue[str | None]) -> None:
    """Put every line into a queue, and None after the last."""
    for line in stdout:
        lines.put(line)
    lines.put(None)
