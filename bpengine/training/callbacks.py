"""Callbacks: functions called after each epoch, and one that saves the model."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from bpengine.errors import ConfigError, check_path, flag, whole
from bpengine.training.history import Epoch
from bpengine.training.metrics.choice import lowered, monitored
from bpengine.training.metrics.metric import Metric

Callback = Callable[[Any, Epoch], object]  # called with (model, epoch); a true result stops the fit


def make_callbacks(callbacks: Callback | Sequence[Callback] | None) -> tuple[Callback, ...]:
    """Return the callbacks as a tuple; raise ConfigError for something that cannot be called."""
    single = [] if callbacks is None else [callbacks]
    several: list[Any] = list(callbacks) if isinstance(callbacks, (list, tuple)) else single
    for callback in several:
        if isinstance(callback, type) or not callable(callback):
            raise ConfigError(
                f"fit requires callbacks to be functions of (model, epoch), or a list of them, got {callback!r}."
            )
        if not _takes_two(callback):
            raise ConfigError(
                f"fit requires a callback to take two arguments, (model, epoch), got {callback!r} with "
                f"{inspect.signature(callback)}. For example: def show(model, epoch): print(epoch.loss)."
            )
    return tuple(several)


def _takes_two(callback: Callback) -> bool:
    try:
        inspect.signature(callback).bind(None, None)
    except ValueError:  # built in, without a signature
        return True
    except TypeError:
        return False
    return True


class Savable(Protocol):
    """What `Checkpoint` needs of a model."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A callback with a state of its own, which checkpoints keep: numbers, text, lists and NumPy arrays by name."""

    def state(self) -> Mapping[str, Any]:
        """Return what the callback needs to continue as in a fit that was not killed."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        ...


@runtime_checkable
class Watcher(Protocol):
    """A callback that only observes: it changes nothing and never stops the fit, so the fit is the same with and without it.

    reads_model: whether it reads the model. Without such a callback, several epochs of one step each may be one compiled
    run, after which the callback is called once for each of them.
    """

    @property
    def reads_model(self) -> bool:
        """Whether it reads the model."""
        ...

    def __call__(self, model: object, epoch: Epoch) -> object:
        """Observe an epoch."""
        ...


def reads_epochs_alone(callback: Callback) -> bool:
    """Tell whether a callback reads nothing but the epochs."""
    return isinstance(callback, Watcher) and not callback.reads_model


class Checkpoint:
    """Save the model to `path` every `every` epochs; with `best` only when the validation loss is the lowest so far.

    monitor: the validation score that `best` looks at in place of the loss: a name such as "f1", or a bp.Metric with its
        direction.
    These are model files, which hold no state of the fit. To continue a fit that is killed, pass `run=bp.RunFolder(...)` to
    `Model.fit`.
    Raises ConfigError for a path that is none, an `every` below 1, or an unknown score; while the model is fitted, for a score
    that the fit does not record, and ModelFileError for a file that cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], every: int = 1, *, best: bool = False, monitor: str | Metric = "loss"
    ) -> None:
        check_path(path, "Checkpoint")
        self.path, self.every = path, whole(every, "Checkpoint", "every")
        self.best = flag(best, "Checkpoint", "best")
        self._watched = monitored("Checkpoint", monitor)
        self._lowest = float("inf")  # of the score, or of minus the score where larger is better

    def __call__(self, model: Savable, epoch: Epoch) -> None:
        """Save the model if it is due."""
        if self.best:
            score = self._score(epoch)
            if not score < self._lowest:
                return
            self._lowest = score
        elif epoch.number % self.every:
            return
        model.save(self.path)

    def _score(self, epoch: Epoch) -> float:
        """Return an epoch's score, negated where larger is better; without validation, the training loss."""
        name, scores = self._watched.name, epoch.validation or {}
        if name == "loss":
            return float(scores.get(name, epoch.loss))
        if name not in scores:
            raise ConfigError(
                f"Checkpoint requires the validation score {name!r}, which the fit does not record. Pass validation=(x, y) "
                f"and metrics=[{name!r}] to fit."
            )
        return lowered(self._watched, scores[name])

    def state(self) -> dict[str, Any]:
        """Return the best score so far, with all its bits."""
        return {"lowest": self._lowest.hex()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue with the best score of an earlier process."""
        self._lowest = float.fromhex(state["lowest"])
