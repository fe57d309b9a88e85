"""Peak memory of training.

A separate file: unlike the rounds it starts a new process for each contender, so that earlier work does not affect the memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bpengine.benchmark.contenders import Contender, in_place
from bpengine.benchmark.inputs import make_sample
from bpengine.benchmark.processes.pool import Pool
from bpengine.benchmark.processes.process import WorkerFailed
from bpengine.benchmark.steps.launch_counts import WARM
from bpengine.benchmark.workloads import Workload
from bpengine.errors import in_english

EPOCH = 2  # batches of an epoch: the fewest that training in batches can have


def watch_memory(
    pool: Pool, workload: Workload, contenders: list[Contender], say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Return, for each contender, by how many bytes its process grows when it trains; see `Worker.memory`."""
    real = workload if workload.whole else replace(workload, epoch_steps=EPOCH, steps=None)
    measured: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bpengine-bench-") as short:
        make_sample(real).save(Path(short))
        for number, contender in enumerate(contenders, 1):
            say(in_place("memory", contender.title, number, len(contenders)))
            try:
                process = pool.fresh(contender, workload.dtype)
            except WorkerFailed as error:
                measured[contender.name] = {"growth": None, "device": {}, "failure": in_english(error)}
                continue
            try:
                measured[contender.name] = process.ask(do="memory", workload=real.to_dict(), folder=short, warm=WARM)
            except WorkerFailed as error:
                measured.setdefault(contender.name, {"growth": None, "device": {}})["failure"] = in_english(error)
            finally:
                process.close()
    return measured
