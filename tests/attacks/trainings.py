"""Trainings that attacks break off: the states that they may leave, and all that must then be as it was."""

from __future__ import annotations

import gc
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import environment
from bpengine_numpy.forking import FORKS
from bpengine_numpy.llvm_target.object_code import loop_cache

import bpengine as bp

# seconds within which threads that read ahead are gone, and files that other threads write are closed
THREADS_END = 20.0
Digest = str


def digest(*arrays: Any) -> Digest:
    """Return a digest of the bits of arrays."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def state_of(model: bp.Model) -> Digest:
    """Return a digest of all that training changes in a model. Raises AssertionError for a number that is not finite."""
    arrays = {**model.parameters, **model.running}
    assert arrays, "the model has no parameters any more"
    assert all(np.isfinite(array).all() for array in arrays.values()), "a parameter is not finite"
    return digest(*(arrays[name] for name in sorted(arrays)))


@dataclass(frozen=True)
class Training:
    """A fit on rows of its own: in memory, or in files that are mapped; as it is written, or compiled from the first step."""

    name: str
    network: bp.Network
    rows: int
    batch: int
    epochs: int = 3
    compiled: bool = False
    mapped: bool = False
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    watched: bool = True  # whether callbacks are called

    def model(self, like: bp.Model | None = None) -> bp.Model:
        """Return a new model, with the parameters and the past of another where one is given."""
        backend = NumpyBackend()
        if backend._compiled:
            backend._compiled._patience = float("-inf" if self.compiled else "inf")
        if like is None:
            return bp.Model(self.network, backend, seed=1)
        return bp.Model._restored(self.network, backend, like._settings(), like.parameters, like.running)

    def data(self, folder: Path) -> tuple[Any, Any]:
        """Return x and y; the files are written once into a folder."""
        draw = np.random.default_rng(0)
        x = draw.normal(size=(self.rows, self.network.inputs)).astype(np.float32)
        y = draw.integers(0, self.network.outputs, self.rows)
        if not self.mapped:
            return x, y
        path = folder / f"{self.name.replace(' ', '-')}.npy"
        if not path.exists():
            np.save(path, x)
        return np.load(path, mmap_mode="r"), y

    def fit(self, model: bp.Model, x: Any, y: Any, **changed: Any) -> Any:
        """Train a model."""
        held_out = x[: self.batch // 2], y[: self.batch // 2]
        settings = {"optimizer": "adam", "batch_size": self.batch, "epochs": self.epochs, "validation": held_out}
        return model.fit(x, y, **{**settings, **self.settings, **changed})

    def states(self, folder: Path) -> dict[Digest, int]:
        """Return the state before the first step and after each, with the number of steps."""
        x, y = self.data(folder)
        steps_of = {state_of(self.model()): 0}
        for steps in range(1, self.epochs * -(-self.rows // self.batch) + 1):
            model = self.model()
            self.fit(model, x, y, steps=steps, epochs=None, stop=())
            steps_of[state_of(model)] = steps
        return steps_of

    def goes_on(self, model: bp.Model, x: Any, y: Any) -> str | None:
        """Train once more; say what is other than for a new model with the same parameters."""
        twin = self.model(model)
        first, other = self.fit(model, x, y, epochs=1), self.fit(twin, x, y, epochs=1)
        if first.loss.tobytes() != other.loss.tobytes():
            return f"the next fit gives other losses, {first.loss}, than a new model does, {other.loss}"
        return (
            None if state_of(model) == state_of(twin) else "the next fit gives other parameters than a new model does"
        )


BEST = bp.NoImprovement(50, restore_best=True)
SMALL = bp.Network(3, [bp.Dense(5, "tanh"), bp.BatchNorm(), bp.Dropout(0.2), bp.Dense(2)], "softmax_cross_entropy")
LARGE = bp.Network(300, [bp.Dense(1000, "relu"), bp.Dense(3)], "softmax_cross_entropy")  # 1.2 MB of weights are lent


def open_files() -> Counter[tuple[int, int]]:
    """Return which files the descriptors of this process lead to, (device, inode); none where the system does not say."""
    folder, files = Path("/proc/self/fd"), Counter[tuple[int, int]]()
    for number in os.listdir(folder) if folder.is_dir() else ():
        with suppress(OSError):  # the descriptor of the folder itself, which is closed by now
            status = os.fstat(int(number))
            files[status.st_dev, status.st_ino] += 1
    return files


def paths_of(files: Counter[tuple[int, int]]) -> list[str]:
    """Return the paths of open files, with the names that deleted ones had."""
    paths = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            status = path.stat()
            paths += [os.readlink(path)] if (status.st_dev, status.st_ino) in files else []
    return paths


class Surroundings:
    """What a process has beside its models, and must have again afterwards: threads, locks, open files, modes of numbers."""

    def __init__(self) -> None:
        gc.collect()
        self.before = self._now()

    def changed(self) -> str | None:
        """Say what is other than it was; threads have a while to end."""
        gc.collect()
        until = time.monotonic() + THREADS_END
        while (different := self._different()) and time.monotonic() < until:
            time.sleep(0.005)
        return "; ".join(different) or None

    def _different(self) -> list[str]:
        now = self._now()
        opened = now.pop("open files") - self.before["open files"]  # a file that is no longer open is no harm
        texts = [
            f"{name}: {self.before[name]} before, {now[name]} now" for name in now if now[name] != self.before[name]
        ]
        return [*texts, f"stayed open: {paths_of(opened)}"] if opened else texts

    def _now(self) -> dict[str, Any]:
        return {
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "floating-point environment": environment().value.tolist(),
            "NumPy's errors": np.geterr(),
            "epochs that run": dict(FORKS._running),
            "locks held": [name for name, held in self._locks() if held()],
            "open files": open_files(),
        }

    @staticmethod
    def _locks() -> Iterator[tuple[str, Callable[[], bool]]]:
        yield "forks", FORKS._lock._is_owned  # type: ignore[attr-defined] # typeshed leaves it out
        yield "linking", loop_cache._linking.locked
        yield "registering", loop_cache._registering.locked
        yield from ((key[-80:], lock.locked) for key, lock in loop_cache._locks.items())


@contextmanager
def in_folder(path: Path) -> Iterator[Path]:
    """Give a folder that is emptied before and after."""
    for file in path.iterdir() if path.is_dir() else ():
        file.unlink()
    path.mkdir(exist_ok=True)
    yield path
    for file in path.iterdir():
        file.unlink()
