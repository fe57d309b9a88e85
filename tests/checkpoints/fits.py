"""A fit with everything that a checkpoint must hold, and the digest of what comes out of it."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

import bpengine as bp

ROWS = 300
LIMITS = ("epochs", "steps")


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return rows and labels."""
    rng = np.random.default_rng(3)
    return rng.standard_normal((ROWS, 6)).astype("float32"), rng.integers(0, 3, ROWS)


def network() -> bp.Network:
    """Return a network with dropout, running statistics and penalties."""
    layers = [bp.Dense(12, "tanh"), bp.BatchNorm(), bp.Dropout(0.2), bp.Dense(3)]
    return bp.Network(6, layers, "softmax_cross_entropy", penalties=[bp.L2(1e-3)])


def compiled(model: bp.Model) -> bp.Model:
    """Let a model on NumPy compile its epochs from the first step on."""
    model.backend._compiled._patience = float("-inf")
    return model


class Averages:
    """A callback with a state: the mean of the losses so far, and the first weights as they were on the way."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.weights = np.zeros((0, 6))

    def __call__(self, model: bp.Model, epoch: Any) -> None:
        self.losses.append(epoch.loss)
        self.weights = np.vstack([self.weights, model.parameters["0.weight"][:, 0]])

    def state(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "weights": self.weights}

    def restore(self, state: Any) -> None:
        self.losses, self.weights = list(state["losses"]), state["weights"]


def settings(**others: Any) -> dict[str, Any]:
    """Return settings of `fit` with schedule, moments, weights, validation, early stopping, clipping and a callback."""
    x, y = data()
    weights = np.linspace(0.5, 1.5, ROWS)
    return {
        "batch_size": 32,
        "optimizer": bp.Adam(bp.Cosine(0.02, 60)),
        "weights": weights,
        "validation": (x[:50], y[:50]),
        "stop": [bp.NoImprovement(40), bp.LossBelow(1e-9)],
        "clip_norm": 5.0,
        "track_step_size": True,
        "callbacks": Averages(),
        **others,
    }


def fitted(model: bp.Model, **others: Any) -> str:
    """Fit a model, and return the digest of all that comes out, its callback's memory included."""
    options = settings(**others)
    history = model.fit(*data(), **options)
    memory = options["callbacks"].state() if isinstance(options["callbacks"], Averages) else {}
    return digest(model, history, memory)


def digest(model: bp.Model, history: bp.History, *others: Any) -> str:
    """Return the SHA-256 of parameters, statistics, and the record but for its times."""
    arrays = itertools.chain(sorted(model.parameters.items()), sorted(model.running.items()))
    digested = hashlib.sha256()
    for name, array in arrays:
        digested.update(name.encode() + array.tobytes())
    for column in (history.loss, history.learning_rate, history.step_size):
        digested.update(b"" if column is None else column.tobytes())
    epochs = [(e.number, e.steps, e.loss, e.learning_rate, e.validation) for e in history.epochs]
    digested.update(repr((epochs, history.stopped_by, model.fits, [_plain(other) for other in others])).encode())
    return digested.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the oldest first."""
    return sorted(folder.glob("*.ckpt"))
