"""The folder of a whole fit, which a process reads; and the weights that it writes to another, which are evaluated here."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bpengine import data
from bpengine.backend import HostArray
from bpengine.benchmark.fits.fit_workloads import FitWorkload
from bpengine.benchmark.inputs import Sample, Weights
from bpengine.streams import derived, stream
from bpengine.training.batching import epoch_order


class OwnFit(NamedTuple):
    """A user's rows: x (rows, features), y (rows,) class numbers; and others that no contender trains on."""

    x: HostArray
    y: HostArray
    held_out_x: HostArray
    held_out_y: HostArray


class Judgement(NamedTuple):
    """The quality of a process's weights: the mean loss over its fits, and the accuracy on held-out rows, if any."""

    loss: float
    accuracy: float | None


class FitData:
    """The rows of a workload, and the initial weights of each of its fits.

    x (rows, features) float32, y (rows,) class numbers. own: a user's rows, which replace drawn ones. Raises
    BackendUnavailable for digits where scikit-learn, which contains them, is missing.
    """

    def __init__(self, work: FitWorkload, own: OwnFit | None = None) -> None:
        self.work, self._own = work, own
        x, y = _rows(work) if own is None else (own.x, own.y)
        self.x, self.y = np.ascontiguousarray(x, np.float32), np.asarray(y, np.int64)
        self._samples = [Sample(work.step_workload(n), self.x, self.y, _initial(work, n)) for n in range(work.fits)]

    def write(self, folder: Path, variant: int = 0) -> None:
        """Write the files that a process reads: the task, the rows, initial weights, and the order of rows of every epoch.

        variant: 0 for the rows; from 1 on each number of x is the next one of float32 above or below, drawn by the variant.
        """
        (folder / "task.json").write_text(json.dumps(self.work.task()))
        np.save(folder / "x.npy", _rounded(self.x, variant))
        np.save(folder / "y.npy", self.y)
        for number, sample in enumerate(self._samples):
            arrays: dict[str, Any] = {
                f"{kind}{i}": a for i, layer in enumerate(sample.initial) for kind, a in zip("wb", layer, strict=True)
            }
            np.savez(folder / f"initial{number}.npz", **arrays)
            np.save(folder / f"orders{number}.npy", _orders(self.work, number))

    @property
    def is_own(self) -> bool:
        """Whether the rows are a user's."""
        return self._own is not None

    def judge(self, folder: Path) -> Judgement:
        """Evaluate the weights in a folder, by the same few lines of NumPy for every contender."""
        with np.load(folder / "weights.npz") as arrays:
            trained = [_weights(arrays, number, len(s.initial)) for number, s in enumerate(self._samples)]
        losses = [sample.loss(weights) for sample, weights in zip(self._samples, trained, strict=True)]
        return Judgement(statistics.fmean(losses), self._accuracy(trained[0]))

    def _accuracy(self, weights: Weights) -> float | None:
        if self._own is None or not len(self._own.held_out_x):
            return None
        a = self._own.held_out_x
        for i, (w, b) in enumerate(weights):
            a = a @ w + b
            a = np.maximum(a, 0) if i < len(weights) - 1 else a
        return float(np.mean(np.argmax(a, axis=1) == self._own.held_out_y))


def _rounded(array: HostArray, variant: int) -> HostArray:
    if variant == 0:
        return array
    above = stream("rounded rows", variant).random(array.shape) < 0.5
    rounded: HostArray = np.nextafter(array, np.where(above, np.inf, -np.inf).astype(array.dtype))
    return rounded


def _rows(work: FitWorkload) -> tuple[HostArray, HostArray]:
    if work.source == "digits":
        digits = data.load("digits")
        return digits.x, digits.y
    sizes = work.sizes[0]
    drawn = data.generate("teacher_classification", work.rows, features=sizes[0], classes=sizes[-1], dtype="float32")
    return drawn.x, drawn.y


def _initial(work: FitWorkload, number: int) -> Weights:
    params, _ = work.step_workload(number).network().init(number)
    layers = range(len(work.sizes_of(number)) - 1)

    def single(name: str) -> HostArray:
        array: HostArray = params[name].astype(np.float32)
        return array

    return [(single(f"{i}.weight"), single(f"{i}.bias")) for i in layers]


def _orders(work: FitWorkload, number: int) -> HostArray:
    """Return the row numbers (calls, epochs, rows) of a fit, as `Model.fit` draws them, call by call."""
    seeds = [derived("later fit", number, call) if call else number for call in range(work.calls)]
    drawn = [[epoch_order(seed, epoch, work.rows, shuffle=True) for epoch in range(work.epochs)] for seed in seeds]
    return np.asarray(drawn)


def _weights(arrays: Mapping[str, HostArray], number: int, layers: int) -> Weights:
    return [(arrays[f"{number}.{i}.w"], arrays[f"{number}.{i}.b"]) for i in range(layers)]
