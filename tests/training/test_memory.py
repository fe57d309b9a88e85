"""An array on disk trains without being loaded whole: measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bpengine as bp

ROWS, FEATURES = 150_000, 784
TRAIN = """
import resource, sys
import numpy as np, bpengine as bp
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
x, y = (np.load(name, mmap_mode="r") for name in sys.argv[1:3])
model = bp.Model(bp.Network(x.shape[1], [bp.Dense(8, "relu"), bp.Dense(10)], "softmax_cross_entropy"))
before = peak()
model.fit(x, y, batch_size=1024, epochs=1)
model.evaluate(x, y)
model.predict(x)
print(peak() - before)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted in other units elsewhere")
def test_a_file_is_never_in_memory_whole(tmp_path: Path) -> None:
    """Two pieces of at most 64 MiB and a mapped stretch of 128 MiB are all that is held of a file of 449 MiB."""
    files = bp.data.write("teacher_classification", ROWS, tmp_path / "t", features=FEATURES)
    size = np.load(files[0], mmap_mode="r").nbytes
    run = subprocess.run([sys.executable, "-c", TRAIN, *map(str, files)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 0.7 * size


CUT_SHORT = """
import os, sys
import numpy as np, bpengine as bp
from bpengine.training import batching
rng, name, left, use = np.random.default_rng(0), sys.argv[1], int(sys.argv[2]), sys.argv[3]
np.save(name, rng.normal(size=(5000, 3)).astype(np.float32))
x, y = np.load(name, mmap_mode="r"), rng.normal(size=(5000, 3))
if use == "y":
    x, y = y, x
model = bp.Model(bp.Network(3, [bp.Dense(3)], "mean_squared_error"))
def shorten(*_):
    os.truncate(name, left)
try:
    if use == "fit":
        model.fit(x, y, batch_size=16, epochs=3, callbacks=shorten)
    else:
        shorten()
        calls = {"full batch": lambda: model.fit(x, y, epochs=1), "y": lambda: model.fit(x, y, epochs=1),
                 "predict": lambda: model.predict(x), "gradients": lambda: model.loss_and_gradients(x, y),
                 "evaluate": lambda: model.evaluate(x, y), "jacobian": lambda: model.jacobian(x)}
        calls[use]()
except bp.DataError as error:
    print(error)
"""


@pytest.mark.thorough(keep=1)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file behind a map cannot be told")
@pytest.mark.parametrize("left", [0, 100, 30_000])
@pytest.mark.parametrize("use", ["fit", "full batch", "y", "predict", "gradients", "evaluate", "jacobian"])
def test_a_file_cut_short_in_use_is_an_error(use: str, left: int, tmp_path: Path) -> None:
    """Touching a page of the map behind the file's end would end the process by a signal."""
    command = [sys.executable, "-c", CUT_SHORT, str(tmp_path / "x.npy"), str(left), use]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("a memory-mapped file ends at byte"), run.stdout


MEASURE = """
import ctypes, gc
from pathlib import Path
import numpy as np, bpengine as bp
from bpengine_numpy import NumpyBackend

class AtOnce(NumpyBackend):
    patience = float("-inf")

def status(name):
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").open() if line.startswith(name))

def settled():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return status("VmRSS:")

def rows_for(rows, features):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, features), np.float32), rng.integers(0, 10, rows)

def model(*sizes):
    layers = [*(bp.Dense(size, "relu") for size in sizes[1:]), bp.Dense(10)]
    return bp.Model(bp.Network(sizes[0], layers, "softmax_cross_entropy"), AtOnce())
"""
GROWTH = """
x, y = rows_for(3200, 64)
trained = model(64, 64)
seen = []

def look(model, epoch):
    if epoch.number in (10, 110):
        seen.append(settled())

trained.fit(x, y, batch_size=32, epochs=110, callbacks=look)
print(seen[1] - seen[0])
"""
PEAK = """
x, y = rows_for(1024, 1024)
trained = model(1024, 1024, 1024)
trained.fit(x, y, batch_size=512, steps=2)  # compiled from here on
trained._adopt({"params": trained._bring(trained.network.init(0)[0]), "running": {}})
parameters = sum(value.nbytes for value in trained.parameters.values())
before = settled() - parameters
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
trained.fit(x, y, batch_size=512, epochs=10)
activations, batch = 512 * (1024 + 1024 + 10) * 4, x[:512].nbytes + y[:512].nbytes
print(status("VmHWM:") - before, 4 * parameters + activations + batch)
"""


def measured(script: str) -> list[int]:
    run = subprocess.run([sys.executable, "-c", MEASURE + script], capture_output=True, text=True, check=True)
    return [int(number) for number in run.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say")
def test_ten_thousand_compiled_steps_take_no_more_memory_than_a_thousand() -> None:
    """Less than one more copy of the state (0.06 MiB) for every ten epochs; what is recorded is a number a step."""
    (growth,) = measured(GROWTH)
    assert growth < 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say")
def test_peak_memory_of_a_compiled_fit_stays_within_a_quarter_of_what_it_needs() -> None:
    """Parameters, optimiser state, gradients, activations and one batch, and a quarter more for all else.

    That is one more copy of the parameters, which the model keeps until the fit has succeeded, and none of the state.
    """
    peak, needed = measured(PEAK)
    assert peak < 1.25 * needed
