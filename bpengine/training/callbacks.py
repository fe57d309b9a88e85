"""Callbacks: functions called after each epoch, and one that saves the model."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from bpengine.errors import ConfigError, check_path, flag, whole
from bpengine.training.history import Epoch

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
        """Return what the callback needs to go on as if the fit had not been killed."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        ...


class Checkpoint:
    """Save the model to `path` every `every` epochs; with `best` only when the validation loss is the lowest so far.

    These are model files, without what a fit needs to go on: for that give `Model.fit` a `bp.RunFolder`.
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1, *, best: bool = False) -> None:
        check_path(path, "Checkpoint")
        self.path, self.every = path, whole(every, "Checkpoint", "every")
        self.best = flag(best, "Checkpoint", "best")
        self._lowest = float("inf")

    def __call__(self, model: Savable, epoch: Epoch) -> None:
        """Save when it is time to."""
        if self.best:
            loss = (epoch.validation or {}).get("loss", epoch.loss)
            if not loss < self._lowest:
                return
            self._lowest = loss
        elif epoch.number % self.every:
            return
        model.save(self.path)

    def state(self) -> dict[str, Any]:
        """Return the lowest loss so far, with all its bits."""
        return {"lowest": self._lowest.hex()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the lowest loss of an earlier process."""
        self._lowest = float.fromhex(state["lowest"])
