"""Fits whose results must have the same bits for every number of processes, eager and compiled.

    mpiexec -n 3 python -m tests.distributed.cases FOLDER

prints a line for each: its name, and a SHA-256 of everything that it gave. FOLDER holds x.npy, for the memory-mapped one.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bpengine_numpy import NumpyBackend
from bpengine_numpy.llvm_target import compiled_epochs

import bpengine as bp
from bpengine.backend import Backend
from bpengine.distributed import Comm, guarded
from bpengine.training import evaluation

ROWS, INPUTS, CLASSES = 1000, 20, 3
HOWS = ("eager", "compiled")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fit: what makes the layers behind each hidden one, and what `fit` is given."""

    behind: Callable[[], list[bp.Layer]] = list
    penalties: tuple[bp.L2, ...] = ()
    weighted: bool = False
    mapped: bool = False
    rows: int = ROWS
    loss: str | bp.Loss = "softmax_cross_entropy"
    fit: dict[str, Any] = field(default_factory=dict)


def drawn(y_true: Any, prediction: Any) -> float:
    """Return a number that the processes do not share: they go on with that of the first."""
    return float(bp.world().rank) + float(prediction.sum())


EVERYTHING = Case(
    behind=lambda: [bp.Dropout(0.2)],
    penalties=(bp.L2(1e-3, per_sample=True),),
    weighted=True,
    fit={
        "clip_norm": 0.5, "stop": bp.NoImprovement(2, monitor="roc_auc"), "optimizer": bp.Adam(bp.Cosine(0.01, 100)),
        "validation": 300, "epochs": 3, "metrics": ["f1_weighted", "confusion_matrix", drawn],
    },
)  # fmt: skip
CASES: dict[str, Case] = {
    "uneven last batch": Case(),
    "everything": EVERYTHING,
    "batch norm per shard": Case(behind=lambda: [bp.BatchNorm(over="shard")]),
    "12 shards": Case(weighted=True, behind=lambda: [bp.Dropout(0.2)], fit={"shards": 12}),
    "empty shards": Case(rows=90, fit={"shards": 64, "batch_size": 50}),
    "full batch": Case(fit={"batch_size": None, "stop": bp.StepSizeBelow(1e-3), "epochs": 4}),
    "memory-mapped": Case(mapped=True),
    "accumulated, sum, a rule that halts": Case(
        loss=bp.Loss("softmax_cross_entropy", reduction="sum"),
        fit={"accumulate": 3, "batch_size": 50, "shards": 4, "stop": bp.LossBelow(170.0), "optimizer": bp.Adam(0.01)},
    ),
}
USUAL = {"batch_size": 256, "epochs": 2, "shards": 16, "optimizer": "adam"}


def backend(how: str) -> NumpyBackend:
    """Return a backend that runs every step as it is written, or compiled from the first on."""
    eager_first = NumpyBackend()
    patience = float("-inf") if how == "compiled" else float("inf")
    eager_first._compiled = compiled_epochs(lambda *args: Backend.run_epoch(eager_first, *args), patience)
    return eager_first


def trained(case: Case, how: str, comm: Comm, folder: Path, **more: Any) -> tuple[bp.Model, bp.History]:
    """Return the model of a case, trained, and its history."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((ROWS, INPUTS)).astype(np.float32)[: case.rows]
    y = np.tanh(x @ rng.standard_normal((INPUTS, CLASSES)).astype(np.float32)).argmax(axis=1)
    weights = rng.uniform(0, 2, len(x)).astype(np.float32) if case.weighted else None
    layers = [part for size in (32, 16) for part in (bp.Dense(size, "tanh"), *case.behind())]
    network = bp.Network(INPUTS, [*layers, bp.Dense(CLASSES)], case.loss, case.penalties)
    model = bp.Model(network, backend(how), seed=3)
    settings = {**USUAL, **case.fit, **more}
    if "validation" in settings:
        settings["validation"] = (x[: settings["validation"]], y[: settings["validation"]])
    source = np.load(folder / "x.npy", mmap_mode="r") if case.mapped else x
    return model, model.fit(source, y, weights=weights, comm=comm, **settings)


def digest(model: bp.Model, history: bp.History) -> str:
    """Return a SHA-256 of parameters, running statistics, and all that was recorded."""
    whole = hashlib.sha256()
    sizes = () if history.step_size is None else (history.step_size,)
    epochs = np.array([epoch.loss for epoch in history.epochs])
    recorded = (history.loss, *sizes, epochs, *history.validation_scores.values())
    for array in (*model.parameters.values(), *model.running.values(), *recorded):
        whole.update(np.ascontiguousarray(array).tobytes())
    return f"{whole.hexdigest()[:16]} {history.steps} steps, {history.stopped_by}"


def results(comm: Comm, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each case and form with its digest, which must be that of all processes."""
    for name, case in CASES.items():
        for how in HOWS:
            model, history = trained(case, how, comm, folder)
            mine = digest(model, history)
            everyones = {g.tobytes() for g in comm.gather(np.frombuffer(mine.encode(), np.uint8))}
            assert len(everyones) == 1, f"{name}, {how}: processes disagree: {everyones}"
            assert how == "eager" or compiled(model), f"{name}: not compiled"
            yield f"{name}, {how}", mine


def compiled(model: bp.Model) -> bool:
    """Return whether every step of the model's fits ran compiled."""
    epochs: Any = model.backend._compiled  # type: ignore[attr-defined]
    known = [known for step in epochs._known.values() for known in step.by_signature._values.values()]
    return bool(known) and all(k.program is not None and not k.refused for k in known)


def main(folder: str) -> int:
    """Run all cases on these processes."""
    evaluation.CHUNK = 64  # validation rows in several pieces, shared out among the processes
    warnings.simplefilter("error")
    comm = bp.world()

    def run(tell: Callable[..., None] = print) -> None:
        for name, value in results(comm, Path(folder)):
            if comm.rank == 0:
                tell(f"{name}: {value}", flush=True)

    return guarded(comm, run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
