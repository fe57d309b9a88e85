"""Peak memory of training, each contender in a new process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bpengine.benchmark.contenders import Contender
from bpengine.benchmark.pool import Pool
from bpengine.benchmark.process import WorkerFailed
from bpengine.benchmark.sample import make_sample
from bpengine.benchmark.workloads import Workload

WARM = 2.0  # seconds of training after which what is compiled late has been compiled
EPOCH = 2  # batches that the rows are drawn from: as few as training in batches can have


def watch_memory(
    pool: Pool, workload: Workload, contenders: list[Contender], say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Return, for each contender, by how many bytes its process grows when it trains; see `Worker.memory`."""
    real = workload if workload.whole else replace(workload, epoch_steps=EPOCH, steps=None)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bpengine-bench-") as folder:
        make_sample(real).save(Path(folder))
        for contender in contenders:
            say(f"memory of {contender.title}")
            try:
                process = pool.fresh(contender, workload.dtype)
                found[contender.name] = process.ask(do="memory", workload=real.to_dict(), folder=folder, warm=WARM)
                process.close()
            except WorkerFailed as error:
                found[contender.name] = {"growth": None, "device": {}, "failure": str(error)}
    return found
