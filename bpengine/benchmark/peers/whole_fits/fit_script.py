"""The common part of all scripts of whole fits: read a task, train, report the last step, write the weights.

    python -m bpengine.benchmark.peers.whole_fits.NAME FOLDER OUT ARGUMENT

FOLDER holds task.json (see `FitWorkload.task`), x.npy, y.npy, and for each fit its initial weights and the order of rows of
every epoch. One line of JSON on standard output reports the end of the last step: the seconds of each call, and the CPU
seconds of the process so far. The rest is not timed: weights.npz and about.json, written to the folder OUT.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

Array: TypeAlias = Any  # of the library that trains
Weights = list[tuple[Array, Array]]  # weight (inputs, units) and bias (units,) of each layer


@dataclass(frozen=True, kw_only=True)
class FitTask:
    """One fit: its network, its data and its length.

    x (rows, inputs), y (rows,) class numbers. rate: Adam's. epochs: those of a call; a fit is called `calls` times.
    """

    number: int
    folder: Path
    sizes: tuple[int, ...]
    seed: int
    batch: int
    epochs: int
    calls: int
    rate: float
    eps: float
    x: Array
    y: Array

    def initial(self) -> Weights:
        """Return the initial weights, those that the engine draws by the seed."""
        with np.load(self.folder / f"initial{self.number}.npz") as arrays:
            return [(arrays[f"w{i}"], arrays[f"b{i}"]) for i in range(len(self.sizes) - 1)]

    def orders(self) -> Array:
        """Return the row numbers (calls, epochs, rows) of every epoch in the order they are seen, as the engine shuffles."""
        return np.load(self.folder / f"orders{self.number}.npy")


class LibraryFit(Protocol):
    """One model of a library; made by (task, argument)."""

    def renew(self) -> None:
        """Start a new optimiser, before every call but the first; not timed."""

    def train(self, call: int) -> None:
        """Train the epochs of one call, and wait until they have been computed."""

    def weights(self) -> Weights:
        """Return the weights as NumPy arrays."""


def run(maker: Callable[[FitTask, str], LibraryFit], packages: tuple[str, ...], note: str) -> None:
    """Run the task in the folder that the command line names, with trainers made by `maker`.

    packages: the distributions whose versions are reported. note: how the library is used.
    """
    folder, out, argument = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # text that a library prints must not be read as an answer
    seconds: list[list[float]] = []
    trained: list[Weights] = []
    for task in _tasks(folder):
        of_fit: list[float] = []
        began = time.perf_counter()
        trainer = maker(task, argument)
        for call in range(task.calls):
            if call:
                trainer.renew()
                began = time.perf_counter()
            trainer.train(call)
            of_fit.append(time.perf_counter() - began)
        seconds.append(of_fit)
        trained.append(trainer.weights())
    print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time()}), file=reply, flush=True)
    np.savez(out / "weights.npz", **_named(trained))
    (out / "about.json").write_text(json.dumps({"versions": _versions(packages), "note": note}))


def _tasks(folder: Path) -> Iterator[FitTask]:
    task = json.loads((folder / "task.json").read_text())
    x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
    shared = {name: task[name] for name in ("batch", "epochs", "calls", "rate", "eps")}
    for number, (sizes, seed) in enumerate(zip(task["sizes"], task["seeds"], strict=True)):
        yield FitTask(number=number, folder=folder, sizes=tuple(sizes), seed=seed, x=x, y=y, **shared)


def _named(trained: list[Weights]) -> Mapping[str, Any]:
    return {
        f"{number}.{i}.{name}": np.asarray(array)
        for number, weights in enumerate(trained)
        for i, layer in enumerate(weights)
        for name, array in zip("wb", layer, strict=True)
    }


def _versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: installed(name) for name in packages}
