"""Fit: the settings of one training run, checked, and the trainer they make."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from bpengine.backend import Backend, State, Step
from bpengine.errors import ConfigError, number, unknown
from bpengine.layers.layer import Arrays
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.training.batching import make_source
from bpengine.training.callbacks import Callback
from bpengine.training.history import Epoch
from bpengine.training.inputs import Rows, check_rows
from bpengine.training.loop import Trainer
from bpengine.training.optimizers import Optimizer, make_optimizer
from bpengine.training.progress import Progress
from bpengine.training.step import StepPlan, init_state, make_step
from bpengine.training.stopping import Rule, Rules, make_rules

UPDATES = ("simultaneous", "sequential")


@dataclass(frozen=True)
class Subject:
    """What is trained: a network with its parameters on a backend, and the steps compiled for it so far.

    names: of the parameters. arrays() gives {"params", "running"} before the fit, each time as arrays to be given away.
    """

    network: Network
    backend: Backend
    ops: Ops
    names: tuple[str, ...]
    arrays: Callable[[], State]
    seed: int
    evaluate: Callable[[Arrays, Arrays, Rows], dict[str, float]]
    steps: dict[Any, Step] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """The settings of `Model.fit`; raises ConfigError for one that makes no sense, before anything is touched."""

    optimizer: str | Optimizer = "adam"
    batch_size: int | None = None
    epochs: int | None = None
    steps: int | None = None
    validation: Sequence[Any] | None = None
    only: str | Sequence[str] | None = None
    update: str = "simultaneous"
    clip_norm: float | None = None
    stop: Rule | Sequence[Rule] = ()
    shuffle: bool = True
    callbacks: Callback | Sequence[Callback] = ()
    progress: bool = False
    track_step_size: bool | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "steps"):
            _check_count(name, getattr(self, name))
        if self.epochs is None and self.steps is None:
            raise ConfigError("fit requires a limit, got neither epochs nor steps. For example: epochs=20.")
        if self.update not in UPDATES:
            raise unknown("update", self.update, UPDATES)
        if self.clip_norm is not None:
            number(self.clip_norm, "fit", "clip_norm", low=0, above=True)
        if self.clip_norm is not None and self.update == "sequential":
            raise ConfigError(
                "clip_norm requires all gradients at once; update='sequential' takes them one by one. Drop one."
            )
        if self.validation is not None and len(self.validation) not in (2, 3):
            raise ConfigError(f"fit requires validation=(x, y) or (x, y, weights), got {len(self.validation)} arrays.")

    def trainer(self, subject: Subject, rows: Rows, on_epoch: Callable[[State, Epoch], bool] | None) -> Trainer:
        """Return the trainer."""
        network, backend = subject.network, subject.backend
        if self.update == "sequential":
            _require_unshared(network, subject.names)
        optimizer, rules = make_optimizer(self.optimizer), make_rules(self.stop, validation=self.validation is not None)
        source = make_source(
            backend, rows.arrays, rows.dtypes(backend.dtype), self._batch(len(rows.x)), subject.seed, shuffle=self.shuffle
        )  # fmt: skip
        plan = self._plan(optimizer, rules, subject.names, whole=source.batch >= source.rows)
        key = plan.key
        if key not in subject.steps:
            subject.steps[key] = make_step(network, plan, subject.ops)
        return Trainer(
            network=network,
            backend=backend,
            step=subject.steps[key],
            start=lambda: _first_state(subject, plan),
            source=source,
            schedule=optimizer.schedule,
            rules=rules,
            epochs=self.epochs,
            steps=self.steps,
            validate=self._validation(subject),
            on_epoch=on_epoch if self.called else None,
        )

    @property
    def called(self) -> tuple[Callback, ...]:
        """The callbacks."""
        return (self.callbacks,) if callable(self.callbacks) else tuple(self.callbacks)

    def bar(self) -> Progress:
        """Return the progress bar."""
        return Progress(self.epochs or self.steps or 0, show=self.progress)

    def _batch(self, rows: int) -> int | None:
        if self.batch_size is not None and self.batch_size > rows:
            warnings.warn(
                f"batch_size {self.batch_size} is more than the {rows} rows: training on the full batch.", stacklevel=4
            )
        return self.batch_size

    def _plan(self, optimizer: Optimizer, rules: Rules, names: tuple[str, ...], *, whole: bool) -> StepPlan:
        wanted = self.track_step_size if self.track_step_size is not None else whole
        trained = choose(names, self.only)
        return StepPlan(
            optimizer,
            trained,
            self.update,
            self.clip_norm,
            track_step_size=wanted or rules.step_size is not None,
            **rules.thresholds,
        )

    def _validation(self, subject: Subject) -> Callable[[State], dict[str, float]] | None:
        if self.validation is None:
            return None
        held_out = check_rows(subject.network, *self.validation, who="validation x")
        evaluate = subject.evaluate  # without the parameters beside it, which would be held on to
        return lambda state: evaluate(state["params"], state["running"], held_out)


def _require_unshared(network: Network, names: tuple[str, ...]) -> None:
    again = [name for name in network.spread(dict.fromkeys(names)) if name not in names]
    if again:
        raise ConfigError(
            "update='sequential' requires layers with parameters of their own: it updates a layer before the gradient goes "
            f"on, and {again[0]!r} shares those of a layer that it has not reached by then. Use update='simultaneous'."
        )


def _first_state(subject: Subject, plan: StepPlan) -> State:
    """Return the state before the first step, as arrays of its own."""
    counter = subject.backend.asarray(np.array([subject.seed % 2**32, 0], dtype=np.uint32))
    own = subject.arrays()
    return init_state(subject.ops, plan, own["params"], own["running"], counter)


def choose(names: tuple[str, ...], only: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the parameters to train: all of them, or those named in `only`, where "*.bias" stands for every bias.

    Raises ConfigError with the nearest names for one that does not exist, and when nothing is left to train.
    """
    if not names:
        raise ConfigError(
            "fit requires at least one trainable parameter, got a network without any. Add a Dense layer."
        )
    if only is None:
        return names
    patterns = [only] if isinstance(only, str) else list(only)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise unknown("parameter", pattern, names)
    if not patterns:
        raise ConfigError("fit requires at least one parameter to train, got only=[]. Leave `only` out to train all.")
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _check_count(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigError(f"fit requires {name} to be a whole number of at least 1, got {value!r}.")
