"""Errors that say what to do: who requires what, what was given, and a remedy.

Every error of the engine is a `BpError`; each class also inherits from the corresponding built-in exception.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable
from typing import Any

from bpengine.i18n.language import localized


class BpError(Exception):
    """Base of every error raised by bpengine.

    >>> try:
    ...     bp.Dense(0)
    ... except bp.BpError as error:
    ...     print(error)
    Dense requires the number of units to be a whole number of at least 1, got 0.
    """

    def __str__(self) -> str:
        """Return the message in the language that is set (`bp.language`)."""
        return localized(super().__str__())

    def english(self) -> str:
        """Return the message in English, whatever language is set: for files and JSON.

        >>> bp.ConfigError("Dense requires units.").english()
        'Dense requires units.'
        """
        return super().__str__()


class ShapeError(BpError, ValueError):
    """An array has the wrong shape.

    >>> model = bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"))
    >>> try:
    ...     model.predict([[1.0, 2.0, 3.0]])
    ... except bp.ShapeError as error:
    ...     print(type(error).__name__)
    ShapeError
    """


class DataError(BpError, ValueError):
    """The data themselves cannot be trained on: empty, not finite, not numbers, labels out of range.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
    >>> try:
    ...     model.predict([[float("nan")]])
    ... except bp.DataError as error:
    ...     print(type(error).__name__)
    DataError
    """


class ConfigError(BpError, ValueError):
    """A name or setting does not exist, or a value is not allowed.

    >>> try:
    ...     bp.Dense(2, "rellu")
    ... except bp.ConfigError as error:
    ...     print("relu" in str(error))
    True
    """


class BackendUnavailable(BpError, RuntimeError):
    """A backend cannot run here; the message says why and what to do.

    >>> try:
    ...     bp.get_backend("no such backend")
    ... except bp.BpError as error:
    ...     print(type(error).__name__)
    ConfigError
    """


class DeviceMemoryError(BackendUnavailable):
    """A device has too little free memory for what was asked; the message says what was needed and what was free.

    needed, free: bytes; 0 where they are not known. Predictions and evaluations go on with fewer rows at once, so they raise
    it only where a single row does not fit.

    >>> issubclass(bp.DeviceMemoryError, bp.BackendUnavailable)
    True
    """

    needed: int = 0
    free: int = 0

    @classmethod
    def of(cls, text: str, needed: int, free: int) -> DeviceMemoryError:
        """Return an error that carries the bytes that were needed and those that were free.

        >>> bp.DeviceMemoryError.of("a step takes 2 MiB, and 1 MiB is free.", 2 << 20, 1 << 20).needed
        2097152
        """
        error = cls(text)
        error.needed, error.free = needed, free
        return error


class ModelFileError(BpError, ValueError):
    """A model file is corrupt, truncated, or belongs to another network.

    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "model"
    >>> _ = path.write_text("no model")
    >>> try:
    ...     bp.load(path)
    ... except bp.ModelFileError as error:
    ...     print(type(error).__name__)
    ModelFileError
    """


class WriteError(BpError, OSError):
    """A file cannot be written: the disk is full, permission is missing, or the path is not a regular file.

    >>> network = bp.Network(1, bp.Dense(1), "mean_squared_error")
    >>> try:
    ...     bp.explain.write_receipt(bp.Model(network).trace([[0.0]], [[1.0]]), "no/such/folder/step.jsonl")
    ... except bp.WriteError as error:
    ...     print(type(error).__name__)
    WriteError
    """


class NonFiniteError(BpError, ArithmeticError):
    """Training met a loss that is not finite; the model keeps its last good parameters.

    `history` holds what was recorded up to the step that failed (a `bpengine.training.History`), `good_state` the
    training state at the last step with a finite loss.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), dtype="float64")
    >>> try:
    ...     model.fit([[1e3]], [[1.0]], optimizer=bp.SGD(1e9), steps=100)
    ... except bp.NonFiniteError as error:
    ...     print(len(error.history.loss) > 0)
    True
    """

    history: object | None = None
    good_state: object | None = None


class RunInterrupted(BpError):
    """A fit with a run folder was asked to end (Ctrl-C, SIGTERM, SIGUSR1), and has written a checkpoint after its last step.

    signal: the number of the signal. step: steps taken. folder: where the checkpoint is. The model has the state of that step.

    >>> str(RunInterrupted(15, 500, "run"))[:62]
    'the fit was asked to end and has stopped after step 500. The c'
    """

    def __init__(self, signal: int, step: int, folder: str) -> None:
        super().__init__(
            f"the fit was asked to end and has stopped after step {step}. The checkpoint is in {folder!r}: the same call with "
            "resume=True goes on from it."
        )
        self.signal, self.step, self.folder = signal, step, folder

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.signal, self.step, self.folder)


def in_english(error: BaseException) -> str:
    """Return the message of an exception in English, for files, JSON and other processes.

    >>> bp.errors.in_english(ValueError("no"))
    'no'
    """
    return error.english() if isinstance(error, BpError) else str(error)


def number(
    value: object, who: str, what: str, *, low: float = -math.inf, above: bool = False, below: float = math.inf
) -> float:
    """Return `value` as a finite float within limits: at least `low`, or above it, and below `below`.

    Raises ConfigError: "`who` requires `what` of at least 0 and below 1, got 2."

    >>> number(3, "Adam", "a learning rate", low=0)
    3.0
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            real = float(value)
        except OverflowError:
            real = math.inf
        if (real > low if above else real >= low) and -math.inf < real < below:
            return real
    limits = [f"{'above' if above else 'of at least'} {low:g}"] * (low > -math.inf) + [f"below {below:g}"] * (
        below < math.inf
    )
    raise ConfigError(f"{who} requires {what} {' and '.join(limits) or 'to be a finite number'}, got {_told(value)}.")


def whole(value: object, who: str, what: str, *, low: int = 1) -> int:
    """Return `value` as an int of at least `low`; NumPy's whole numbers count, True and False do not.

    Raises ConfigError: "`who` requires `what` to be a whole number of at least 1, got 0."

    >>> whole(np.int64(3), "Dense", "the number of units")
    3
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= low:
        return int(value)
    raise ConfigError(f"{who} requires {what} to be a whole number of at least {low}, got {_told(value)}.")


def _told(value: object) -> str:
    """Return a value as Python code; Python's `repr` refuses whole numbers of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return f"{type(value).__name__} of very many digits"


def flag(value: object, who: str, what: str) -> bool:
    """Return `value` as a bool, or raise ConfigError when it is neither True nor False, Python's or NumPy's.

    >>> flag(np.True_, "fit", "progress")
    True
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise ConfigError(f"{who} requires {what} to be True or False, got {value!r}.")


def items(value: object, who: str, what: str) -> list[Any]:
    """Return the items of `value` as a list, or raise ConfigError when it is not iterable.

    >>> items(("relu", "tanh"), "Network", "layers")
    ['relu', 'tanh']
    """
    if isinstance(value, Iterable):
        return list(value)
    raise ConfigError(f"{who} requires {what} in a list, got {_told(value)}.")


def check_path(value: object, who: str) -> None:
    """Raise ConfigError for a value that is not a path: Python would take a number for an open file.

    >>> check_path("model.safetensors", "Model.save")
    >>> try:
    ...     check_path(3, "Model.save")
    ... except bp.ConfigError as error:
    ...     print(error)
    Model.save requires a path, as text or pathlib.Path, got 3.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"{who} requires a path, as text or pathlib.Path, got {_told(value)}.")


ELSEWHERE = {  # what other libraries call it
    "logistic": "sigmoid", "swish": "silu", "linear": "identity", "hardtanh": "hard_tanh", "hardsigmoid": "hard_sigmoid",
    "mse": "mean_squared_error", "squared_error": "mean_squared_error", "mae": "mean_absolute_error",
    "l1": "mean_absolute_error", "bce": "binary_cross_entropy", "cross_entropy": "softmax_cross_entropy",
    "smooth_l1": "huber", "sparse_categorical_crossentropy": "softmax_cross_entropy",
}  # fmt: skip


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a hint with the name that was probably meant, "Did you mean 'relu'?", or the whole list.

    >>> nearest("rellu", ["relu", "tanh"])
    "Did you mean 'relu'?"
    >>> nearest("swish", ["relu", "silu"])
    "Here it is 'silu'."
    """
    options = sorted(known)
    if (here := ELSEWHERE.get(str(name).lower())) in options:
        return f"Here it is {here!r}."
    import difflib  # imported only when a name is misspelt

    close = difflib.get_close_matches(str(name).lower(), options, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(option) for option in close)}?"
    return f"Known: {', '.join(options)}."


def unknown(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """Build the error for a `kind` ("activation", "layer", ...) that does not exist, with the nearest names.

    >>> raise unknown("activation", "rellu", ["relu", "tanh"])
    Traceback (most recent call last):
    bpengine.errors.ConfigError: unknown activation 'rellu'. Did you mean 'relu'?
    """
    return ConfigError(f"unknown {kind} {name!r}. {nearest(name, known)}")
