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


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted in other units elsewhere")
def test_a_file_is_never_in_memory_whole(tmp_path: Path) -> None:
    """Two copies of a piece of 64 MiB and a mapped stretch of 128 MiB are all that is held of a file of 449 MiB."""
    files = bp.data.write("teacher_classification", ROWS, tmp_path / "t", features=FEATURES)
    size = np.load(files[0], mmap_mode="r").nbytes
    run = subprocess.run([sys.executable, "-c", TRAIN, *map(str, files)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 0.7 * size
