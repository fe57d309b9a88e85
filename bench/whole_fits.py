"""What whole fits cost: CPU seconds of 20 small fits of new models in one process, and of processes that fit once.

    python bench/whole_fits.py [--fits 20] [--rounds 3] [--ways numpy,numpy-fast,jax,scikit-learn]

Digits, 64-32-10, Adam, batches of 100, 10 epochs; every fit has a new network, a new model and another seed; "four sizes"
takes 16, 24, 32 and 48 units in turn. "numpy" runs as its kernels are written, "numpy-fast" with the extra `fast`. Each
process has a cache folder of its own, empty ("cold") or with all that these fits can compile ("warm"). Python's bytecode is
there, and the digits are read from a file of NumPy's: neither is what is measured. With `fast` what is on disk is loaded
after 0.06 s of training in Python, and what is not is compiled beside the fit by another thread after half a second. Ways
take turns within a round. CPU seconds are those of all threads, for other work on the machine lengthens them less than
seconds by the clock, which are beside them ("wall"). The load is that at the start.
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
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bpengine as bp
from bpengine.backend import backend_class
from bpengine.system import hardware

SIZES, WAYS = (16, 24, 32, 48), ("numpy", "numpy-fast", "jax", "scikit-learn")
UNITS, BATCH, EPOCHS = 32, 100, 10
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONDONTWRITEBYTECODE")  # which keep a process from its best


class Phase(NamedTuple):
    """A process: whether its caches are warm, how many fits it makes (0: as many as asked for), and of what."""

    warm: bool
    fits: int
    limit: dict[str, int]
    sizes: tuple[int, ...] = (UNITS,)


PHASES = {
    "cold, 100 steps": Phase(False, 1, {"steps": 100}),
    "cold, one fit": Phase(False, 1, {"epochs": EPOCHS}),
    "warm, one fit": Phase(True, 1, {"epochs": EPOCHS}),
    "warm, 1,800 steps": Phase(True, 1, {"steps": 1800}),
    "cold, 1,800 steps": Phase(False, 1, {"steps": 1800}),
    "cold, all fits": Phase(False, 0, {"epochs": EPOCHS}),
    "warm, all fits": Phase(True, 0, {"epochs": EPOCHS}),
    "warm, four sizes": Phase(True, 0, {"epochs": EPOCHS}, SIZES),
}


def trainer(way: str) -> Callable[..., float]:
    """Return what fits once: (x, y, units, seed, limit) -> the last loss."""
    if way == "scikit-learn":
        return scikit_learn
    run_on: Any = way.removesuffix("-fast")
    if way == "numpy":
        run_on = type("PlainNumpyBackend", (backend_class("numpy"),), {"patience": math.inf})()

    def fit(x: Any, y: Any, units: int, seed: int, limit: dict[str, int]) -> float:
        network = bp.Network(x.shape[1], [bp.Dense(units, "relu"), bp.Dense(10)], "softmax_cross_entropy")
        return bp.Model(network, run_on, seed=seed).fit(x, y, batch_size=BATCH, **limit).loss[-1]

    return fit


def scikit_learn(x: Any, y: Any, units: int, seed: int, limit: dict[str, int]) -> float:
    """Fit scikit-learn's network with the same rule for as many epochs."""
    from sklearn.neural_network import MLPClassifier

    epochs = limit.get("epochs") or max(1, round(limit["steps"] * BATCH / len(x)))
    warnings.simplefilter("ignore")  # that it has not converged
    model = MLPClassifier((units,), batch_size=BATCH, max_iter=epochs, n_iter_no_change=epochs, random_state=seed)
    return float(model.fit(x.astype(np.float32), y).loss_)


def worker(way: str, file: str, phase: Phase, *, at_once: bool) -> None:
    """Print the CPU seconds of each fit, and of the whole process up to now; `at_once` compiles from the first step on."""
    if at_once:
        backend_class("numpy").patience = -math.inf
    digits, seconds, loss = np.load(file), [], math.nan
    x, y = digits["x"], digits["y"]
    fit = trainer(way)
    for seed in range(phase.fits):
        began = time.process_time()
        loss = fit(x, y, phase.sizes[seed % len(phase.sizes)], seed, phase.limit)
        seconds.append(time.process_time() - began)
    print(json.dumps({"fits": seconds, "process": time.process_time(), "loss": float(loss)}))


def measured(way: str, phase: Phase, folder: str, file: str, *more: str) -> dict[str, Any]:
    """Return what a process says, and how long it took by the clock; its cache folder is `folder`."""
    environment = {name: value for name, value in os.environ.items() if name not in FORCED}
    environment |= {"XDG_CACHE_HOME": folder, "PYTHONPYCACHEPREFIX": str(Path(file).with_name("bytecode"))}
    began = time.perf_counter()
    command = [sys.executable, __file__, "--worker", way, "--file", file, "--phase", json.dumps(phase), *more]
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


def one_round(ways: list[str], phase: Phase, file: str) -> dict[str, dict[str, Any]]:
    """Return what each way gives, one after the other."""
    got = {}
    for way in ways:
        with tempfile.TemporaryDirectory() as folder:
            if phase.warm:
                measured(way, phase._replace(fits=len(phase.sizes), limit={"epochs": 1}), folder, file, "--at-once")
            got[way] = measured(way, phase, folder, file)
    return got


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--phases", default=";".join(PHASES), help="separated by semicolons")
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    parser.add_argument("--at-once", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        worker(chosen.worker, chosen.file, Phase(*json.loads(chosen.phase)), at_once=chosen.at_once)
        return
    load, ways = os.getloadavg()[0], chosen.ways.split(",")
    results: dict[str, dict[str, Any]] = {way: {} for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        file, digits = str(Path(folder) / "digits.npz"), bp.data.load("digits")
        np.savez(file, x=digits.x, y=digits.y)
        one_round(ways, Phase(False, 1, {"steps": 1}), file)  # which leaves Python's bytecode
        for name in chosen.phases.split(";"):
            phase = PHASES[name]._replace(fits=PHASES[name].fits or chosen.fits)
            rounds = [one_round(ways, phase, file) for _ in range(chosen.rounds)]
            for way in ways:
                results[way][name] = summary([one[way] for one in rounds])
    about = {"cpu": hardware.cpu(), "system": platform.platform(), "numpy": np.__version__, "load": load}
    print(
        json.dumps(about | {"date": time.strftime("%Y-%m-%d"), "fits": chosen.fits, "cpu_seconds": results}, indent=1)
    )


if __name__ == "__main__":
    main()
