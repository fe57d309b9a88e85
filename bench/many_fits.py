"""What `bp.fit_many` costs beside the same fits one after another, in one process, in turns.

    python bench/many_fits.py [--backends numpy,jax] [--models 4,16] [--epochs 10] [--rounds 3]

The models differ in their seed and learning rate. 4,096 rows of 64 numbers, batches of 128, 64-64-10, Adam. Each way has been
run once before, so nothing is compiled. Seconds by the clock, and CPU seconds of all threads; the ratio is the median over the
rounds of one after another to `fit_many`. First the losses of both ways are compared. On a GPU: --backends jax.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.system import hardware

ROWS, SIZES, BATCH = 4096, (64, 64, 10), 128
CLOSE = 1e-3  # relative: of the last losses of both ways, after hundreds of steps in float32


def rows() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((ROWS, SIZES[0])).astype(np.float32), rng.integers(0, SIZES[-1], ROWS)


def together(network: bp.Network, backend: Any, models: int, epochs: int) -> list[float]:
    """Return the last loss of each of so many models, half of them with another learning rate."""
    rates = [bp.Adam(1e-3), bp.Adam(2e-3)]
    settings = {"seeds": max(1, models // 2), "optimizers": rates, "batch_size": BATCH, "epochs": epochs}
    return [fit.history.epochs[-1].loss for fit in bp.fit_many(network, *rows(), backend=backend, **settings)]


def in_turn(network: bp.Network, backend: Any, models: int, epochs: int) -> list[float]:
    """Return the same of single fits."""
    losses = []
    for rate in (1e-3, 2e-3):
        for seed in range(max(1, models // 2)):
            model = bp.Model(network, backend, seed=seed)
            history = model.fit(*rows(), optimizer=bp.Adam(rate), batch_size=BATCH, epochs=epochs)
            losses.append(history.epochs[-1].loss)
    return losses


def timed(run: Callable[[], list[float]]) -> tuple[float, float]:
    began, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - began, time.process_time() - used


def compared(name: str, models: int, epochs: int, rounds: int) -> dict[str, Any]:
    """Return the figures of one backend and number of models; raise RuntimeError where the losses are not the same."""
    network = bp.Network(SIZES[0], [bp.Dense(SIZES[1], "relu"), bp.Dense(SIZES[2])], "softmax_cross_entropy")
    backend = bp.get_backend(name)
    ways = [lambda way=way: way(network, backend, models, epochs) for way in (together, in_turn)]
    losses = [np.array(way()) for way in ways]
    if not np.allclose(*losses, rtol=CLOSE):
        raise RuntimeError(f"{name}: the losses of fit_many differ from those of single fits: {losses}")
    pairs = [[timed(way) for way in (ways if i % 2 else ways[::-1])][:: 1 if i % 2 else -1] for i in range(rounds)]
    steps = models * epochs * (ROWS // BATCH)
    return {
        "backend": name, "device": backend.device, "models": models, "steps": steps,
        "ratio": statistics.median(alone[0] / many[0] for many, alone in pairs),
        "cpu_ratio": statistics.median(alone[1] / many[1] for many, alone in pairs),
        "microseconds_per_model_and_step": {
            "fit_many": 1e6 * statistics.median(many[0] for many, _ in pairs) / steps,
            "one after another": 1e6 * statistics.median(alone[0] for _, alone in pairs) / steps,
        },
    }  # fmt: skip


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default="numpy,jax")
    parser.add_argument("--models", default="4,16", help="even numbers")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    about = {"cpu": hardware.cpu(), "system": platform.platform(), "numpy": np.__version__, "load": os.getloadavg()[0]}
    results = [
        compared(name, int(models), asked.epochs, asked.rounds)
        for name in asked.backends.split(",")
        for models in asked.models.split(",")
    ]
    print(json.dumps({**about, "date": time.strftime("%Y-%m-%d"), "results": results}, indent=1))


if __name__ == "__main__":
    main()
