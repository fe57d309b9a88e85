"""What whole fits cost: CPU seconds of 20 small fits of new models in one process, and of processes that fit once.

    python bench/whole_fits.py [--fits 20] [--rounds 3] [--ways numpy,numpy-fast,jax]

Digits, 64-32-10, Adam, batches of 100, 10 epochs; every fit has a new network of the same sizes, a new model and another
seed. "numpy" runs as its kernels are written, "numpy-fast" with the extra `fast`. Each process has a cache folder of its own,
empty ("cold") or with all that these fits can compile ("warm"). With `fast` nothing is compiled before training has gone on
for as long as that takes: 20 such fits in a cold process are over before. CPU seconds are those of all threads, for other
work on the machine lengthens them less than seconds by the clock, which are beside them. The load is that at the start.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.backend import backend_class
from bpengine.system import hardware

SIZES, WAYS = (64, 32, 10), ("numpy", "numpy-fast", "jax")
PHASES = ("cold, one fit", "cold, all fits", "warm, one fit", "warm, all fits")
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # which keep BLAS from its best kernels


def backend(way: str) -> Any:
    """Return what a model is given: a name, or NumPy's backend as it is without the extra `fast`."""
    if way != "numpy":
        return way.removesuffix("-fast")
    return type("PlainNumpyBackend", (backend_class("numpy"),), {"patience": math.inf})()


def worker(way: str, fits: int, *, at_once: bool) -> None:
    """Print the CPU seconds of each fit, and of the whole process up to now; `at_once` compiles from the first step on."""
    if at_once:
        backend_class("numpy").patience = -math.inf
    digits, run_on = bp.data.load("digits"), backend(way)
    seconds = []
    for seed in range(fits):
        began = time.process_time()
        layers = [bp.Dense(SIZES[1], "relu"), bp.Dense(SIZES[2])]
        model = bp.Model(bp.Network(SIZES[0], layers, "softmax_cross_entropy"), run_on, seed=seed)
        history = model.fit(digits.x / 16.0, digits.y, batch_size=100, epochs=10)
        seconds.append(time.process_time() - began)
    print(json.dumps({"fits": seconds, "process": time.process_time(), "loss": history.epochs[-1].loss}))


def measured(way: str, fits: int, folder: str, *more: str) -> dict[str, Any]:
    """Return what a process says, and how long it took by the clock; its cache folder is `folder`."""
    environment = {name: value for name, value in os.environ.items() if name not in FORCED}
    environment |= {"XDG_CACHE_HOME": folder}
    began = time.perf_counter()
    command = [sys.executable, __file__, "--worker", way, "--fits", str(fits), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout) | {"wall": time.perf_counter() - began}


def summary(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """Return medians over the rounds: of the first fit, of those after it, of all together, of the process."""
    return {
        "first_fit": statistics.median(one["fits"][0] for one in rounds),
        "later_fit": statistics.median(statistics.median(one["fits"][1:] or one["fits"]) for one in rounds),
        "fits": statistics.median(sum(one["fits"]) for one in rounds),
        "process": statistics.median(one["process"] for one in rounds),
        "process_wall": statistics.median(one["wall"] for one in rounds),
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--at-once", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        worker(chosen.worker, chosen.fits, at_once=chosen.at_once)
        return
    load, results = os.getloadavg()[0], dict[str, Any]()
    for way in chosen.ways.split(","):
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in PHASES}
        for _ in range(chosen.rounds):
            for name, seen in rounds.items():
                with tempfile.TemporaryDirectory() as folder:
                    if name.startswith("warm"):
                        measured(way, 1, folder, "--at-once")
                    seen.append(measured(way, chosen.fits if name.endswith("all fits") else 1, folder))
        results[way] = {name: summary(seen) for name, seen in rounds.items()}
    about = {"cpu": hardware.cpu(), "system": platform.platform(), "numpy": np.__version__, "load": load}
    print(
        json.dumps(about | {"date": time.strftime("%Y-%m-%d"), "fits": chosen.fits, "cpu_seconds": results}, indent=1)
    )


if __name__ == "__main__":
    main()
