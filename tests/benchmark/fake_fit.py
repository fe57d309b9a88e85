"""A script of whole fits that misbehaves by its argument: "dies", "twice" (the learning rate); else the engine's."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from bpengine.benchmark.peers.whole_fits.engine_fit import EngineFit
from bpengine.benchmark.peers.whole_fits.fit_script import FitTask, run


def fake(task: FitTask, argument: str) -> Any:
    if argument == "dies":
        os.write(2, b"out of luck\n")
        os._exit(3)
    print("noise on standard output")
    return EngineFit(replace(task, rate=2 * task.rate) if argument == "twice" else task, "numpy:plain")


if __name__ == "__main__":
    run(fake, ("numpy",), "a fake")
