"""What checkpoints cost: how long training stands still for one, how long the writing takes, and their share of a run.

python bench/checkpoints.py [--every 500] [--checkpoints 3] [--folder DIR]: 784-1024-1024-10 with Adam, 22 MB of state, batches
of 128, on NumPy. Standing still is the time inside `Checkpointer.write`; the share is (with - without) / without in seconds,
alternating, the median of the pairs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.system import hardware
from bpengine.training.checkpoints import checkpoint_file, checkpointer

NETWORK = bp.Network(784, [bp.Dense(1024, "relu"), bp.Dense(1024, "relu"), bp.Dense(10)], "softmax_cross_entropy")


def timed(owner: Any, name: str, into: list[float]) -> None:
    """Note how long each call of a function takes."""
    function = getattr(owner, name)

    def run(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            into.append(time.perf_counter() - began)

    setattr(owner, name, run)


def seconds(steps: int, folder: Path | None, every: int) -> float:
    """Return the seconds of a fit, compiled before."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12_800, 784)).astype("float32"), rng.integers(0, 10, 12_800)
    model = bp.Model(NETWORK)
    history = model.fit(x, y, batch_size=128, steps=60)
    where = {} if folder is None else {"run": bp.RunFolder(folder, every=every)}
    began = time.perf_counter()
    model.fit(x, y, batch_size=128, steps=steps, continue_from=history, **where)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--checkpoints", type=int, default=3, help="in each run")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept while they are measured")
    options = parser.parse_args()
    stalls, alone, writes = list[float](), list[float](), list[float]()
    timed(checkpointer.Checkpointer, "write", stalls)
    timed(checkpoint_file, "write", writes)
    steps, pairs, size = options.every * options.checkpoints, [], 0
    for _ in range(options.pairs):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            plain = seconds(steps, None, options.every)
            pairs.append((seconds(steps, Path(folder), options.every), plain))
            alone += stalls[:-1]  # the last one waits for the disk: the fit is over
            stalls.clear()
            size = max(path.stat().st_size for path in Path(folder).glob("*.ckpt"))
    print(
        json.dumps(
            {
                "cpu": hardware.cpu(), "numpy": np.__version__, "system": platform.platform(), "MB": size / 1e6,
                "steps": steps, "every": options.every,
                "stall_ms": {"median": 1e3 * statistics.median(alone), "largest": 1e3 * max(alone)},
                "write_ms": {"median": 1e3 * statistics.median(writes), "largest": 1e3 * max(writes)},
                "share": statistics.median(a / b - 1 for a, b in pairs), "seconds": pairs,
            }, indent=1,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
