"""`fit_many`: one call trains many models on the same rows."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bpengine import data
from bpengine.backend import ArrayLike, Backend, HostArray, get_backend
from bpengine.errors import ConfigError, flag, whole
from bpengine.many.folds import MOST_FOLDS, Fold, make_folds
from bpengine.many.grid import Combination, combinations, require_few
from bpengine.many.many_fits import ManyFits, OneFit
from bpengine.many.workers import QueuedFit, run_all
from bpengine.model import Model
from bpengine.network import Network
from bpengine.training.fit import FitSettings
from bpengine.training.joint.joint_fits import JointFits
from bpengine.training.metrics.choice import AnyMetric, Asked, choose_metrics, listed, require_monitor, watched
from bpengine.training.metrics.metric import Metric
from bpengine.training.optimizers import Optimizer
from bpengine.training.progress import Progress
from bpengine.training.rows import Rows, encoded_rows, encoded_validation, evaluated_names, own_features
from bpengine.training.stopping import Rule

TOGETHER = 64  # default for the most models that a backend runs as one program


def fit_many(
    networks: Network | Sequence[Network] | Mapping[str, Network],
    x: ArrayLike,
    y: ArrayLike,
    *,
    seeds: int | Iterable[int] = 1,
    optimizers: str | Optimizer | Iterable[str | Optimizer] = "adam",
    l2: float | Iterable[float] | None = None,
    folds: int | Iterable[tuple[Any, Any]] | None = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    weights: ArrayLike | None = None,
    validation: Sequence[Any] | None = None,
    metrics: Asked | Sequence[Asked] | None = (),
    monitor: str | Metric = "loss",
    only: str | Sequence[str] | None = None,
    update: str = "simultaneous",
    clip_norm: float | None = None,
    stop: Rule | Sequence[Rule] | None = (),
    shuffle: bool = True,
    freeze: str | Sequence[str] = (),
    accumulate: int = 1,
    backend: str | Backend = "numpy",
    dtype: str = "float32",
    precision: str | None = None,
    device: str | None = None,
    features: data.Features | None = None,
    at_once: int | None = None,
    progress: bool = False,
) -> ManyFits:
    """Train a model for every combination of networks, optimizers, l2, seeds and folds; return models and a table.

    networks: one, several, or several by name. Each model is `bp.Model(network, seed=seed)`, trained by its `fit`.
    seeds: their number (5 stands for 0 to 4), or a list. They draw the initial weights, the order of rows and dropout masks.
    optimizers: one or several, names or objects: [bp.Adam(1e-3), bp.Adam(3e-3)] are two learning rates.
    l2: strengths; each network gets the penalty bp.L2(strength). None leaves networks as they are.
    folds: a number k, or pairs (train, test) of row numbers such as scikit-learn's KFold(5).split(x). Each model is trained on
        the rows of `train` and validated on those of `test`. k folds hold out each row once, with the same share of each
        class, and are the same in every call with these targets.
    monitor: the score by which fits are compared: "loss" or one of the metrics, on the validation rows; without validation
        rows the training loss of the last epoch.
    features: a fitted `bp.Features`, for every model. (If it has learned from all rows, it includes those that folds hold
        out.)
    at_once: how many fits run at a time; by default as many as there are cores on NumPy, up to 64 on JAX.
    progress: show a bar. It counts fits, as do the lines of the log "bpengine.training". All other arguments are those of
        `Model.fit`; stopping rules apply to each model separately.

    On JAX, models that differ only in seed, learning rate, l2 or fold run as one program, the step under `jax.vmap`; networks
    of other shapes and other update rules are separate programs. On NumPy each core trains one model at a time, with one
    thread for its matrix products; the numbers are those of `NumpyBackend(threads=1)`, to the last bit. On JAX they differ
    from those of a single fit by rounding.

    A fit whose numbers are no longer finite fails without affecting others; its row says why. Ctrl-C ends all fits, and their
    present state is returned. Raises ConfigError, ShapeError or DataError for invalid arguments, an empty list included,
    before training.

    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(4, "tanh"), bp.Dense(1)], "mean_squared_error")
    >>> rates = [bp.Adam(0.1), bp.Adam(1e-4)]
    >>> many = bp.fit_many(network, xor.x, xor.y, seeds=3, optimizers=rates, epochs=100)
    >>> len(many), many.best.optimizer.learning_rate.value
    (6, 0.1)
    >>> [row["optimizer"] for row in many.summary()]
    ['Adam(0.1)', 'Adam(0.0001)']
    """
    began = time.perf_counter()
    if folds is not None and validation is not None:
        raise ConfigError(
            "fit_many takes folds or validation rows, got both: a fold validates on the rows it holds out."
        )
    grid = combinations(networks, seeds, optimizers, l2)
    chosen = get_backend(backend, precision=precision or dtype, device=device)
    features = features if features is not None else own_features(grid[0].network, x, y)
    make_model = partial(Model, backend=chosen, dtype=dtype, precision=precision, features=features)
    first = make_model(grid[0].network, seed=grid[0].seed)
    scoring = _scoring(first, metrics, monitor, validated=folds is not None or validation is not None)
    settings = FitSettings(
        batch_size=batch_size, epochs=epochs, steps=steps, only=only, update=update, clip_norm=clip_norm, stop=stop,
        shuffle=shuffle, freeze=freeze, accumulate=accumulate, metrics=() if validation is None else scoring.metrics,
        validation=encoded_validation(features, validation, first.dtype), log=False,
    )  # fmt: skip
    arrays = _Arrays((*encoded_rows(features, x, y, first.dtype), weights), first.dtype)
    tasks = _tasks(grid, settings, arrays, folds, scoring.metrics)
    workers = _workers(chosen, len(tasks), at_once)
    joint_fits = JointFits(chosen, workers)
    jobs = [
        QueuedFit(
            model=make_model(task.of.network, seed=task.of.seed),
            settings=task.settings,
            rows=task.rows,
            execution=joint_fits.member(number, task.subset),
        )
        for number, task in enumerate(tasks)
    ]
    _run(jobs, joint_fits, workers, progress=flag(progress, "fit_many", "progress"))
    fits = tuple(_fit(n, task, job, scoring.watched) for n, (task, job) in enumerate(zip(tasks, jobs, strict=True)))
    return ManyFits(fits, scoring.watched, time.perf_counter() - began)


class _Scoring(NamedTuple):
    """The metrics that are computed, and the one by which fits are compared."""

    metrics: tuple[Any, ...]
    watched: AnyMetric


class _Arrays(NamedTuple):
    """Inputs, targets and weights or None, as a network takes them, and the dtype that they are computed in."""

    x_y_weights: tuple[Any, ...]
    dtype: str


class _Task(NamedTuple):
    """One fit: its place in the grid, its settings, and its rows: those of a fold, by its number and row numbers, or all."""

    of: Combination
    settings: FitSettings
    rows: Rows
    fold: int | None = None
    subset: HostArray | None = None


def _scoring(
    model: Model, metrics: Asked | Sequence[Asked] | None, monitor: str | Metric, *, validated: bool
) -> _Scoring:
    asked, own = tuple(listed(metrics)), evaluated_names(model.network, model._evaluator.unit)
    chosen = choose_metrics(asked, model.network, own)
    require_monitor("fit_many", monitor)
    compared = watched("fit_many", monitor, chosen, model.network, own)
    if not validated and (asked or compared.name != "loss"):
        raise ConfigError("metrics require validation data, got none. Pass validation=(x, y) or folds=5 to fit_many.")
    known = compared.name in (*own, *(metric.name for metric in chosen))
    return _Scoring(asked if known else (*asked, monitor), compared)


def _tasks(
    grid: Sequence[Combination], settings: FitSettings, arrays: _Arrays, folds: object, metrics: tuple[Any, ...]
) -> list[_Task]:
    """Return the fits: every combination, on every fold; rows are checked once for each network."""
    combinations_of: dict[str, list[Combination]] = {}
    for one in grid:
        combinations_of.setdefault(one.name, []).append(one)
    folds = folds if folds is None or isinstance(folds, int) or hasattr(folds, "split") else list(_some(folds))
    tasks = []
    for several in combinations_of.values():
        network = several[0].network
        rows = settings.rows(network, arrays.x_y_weights, arrays.dtype)
        cut = [None] if folds is None else make_folds(folds, rows.target, network.loss.target)
        require_few(len(grid) * len(cut))
        on = [(number, fold, _held_out(settings, rows, fold, metrics)) for number, fold in enumerate(cut)]
        for one in several:
            for number, fold, validated in on:
                own = replace(validated, optimizer=one.optimizer)
                part = (None, None) if fold is None else (number, fold.train)
                tasks.append(_Task(one, own, rows, *part))
    return tasks


def _some(folds: object) -> Iterable[object]:
    """Return pairs of row numbers as a list, since each network needs them again."""
    return itertools.islice(folds, MOST_FOLDS + 1) if isinstance(folds, Iterable) else [folds]


def _held_out(settings: FitSettings, rows: Rows, fold: Fold | None, metrics: tuple[Any, ...]) -> FitSettings:
    """Return the settings with the rows that a fold holds out for validation."""
    if fold is None:
        return settings
    return replace(settings, validation=tuple(np.asarray(a[fold.test]) for a in rows.arrays), metrics=metrics)


def _workers(backend: Backend, fits: int, at_once: int | None) -> int:
    usual = TOGETHER if backend.together else backend.fits_at_once
    return min(fits, usual if at_once is None else whole(at_once, "fit_many", "at_once"))


def _run(jobs: Sequence[QueuedFit], joint_fits: JointFits, workers: int, *, progress: bool) -> None:
    """Run the fits, and show how many have ended."""
    over = 0

    def show(job: QueuedFit) -> None:
        nonlocal over
        over += 1
        if job.history.epochs:
            bar.update(over, job.history.epochs[-1])

    with joint_fits.backend.divided(workers), Progress(show=progress, fits=True) as bar:
        bar.begin(0, 0, last_epoch=None, last_step=len(jobs), epoch_steps=1)  # the bar counts fits
        run_all(jobs, joint_fits, workers, show)


def _fit(number: int, task: _Task, job: QueuedFit, watched: AnyMetric) -> OneFit:
    """Return the result of a fit, with the scores of its model's final state."""
    epochs, end = job.history.epochs, job.history.end
    kept = end.best.epoch if end is not None and end.best.state else len(epochs)
    scores = (epochs[kept - 1].validation or {}) if epochs else {}
    loss = epochs[-1].loss if epochs else math.nan
    return OneFit(
        number=number, network=task.of.name, optimizer=task.of.optimizer, l2=task.of.l2, seed=task.of.seed, fold=task.fold,
        model=job.model, history=job.history, scores=scores, seconds=job.seconds, error=job.error,
        score=math.nan if job.error else float(scores.get(watched.name, loss if watched.name == "loss" else math.nan)),
    )  # fmt: skip
