"""Checks of options of data sets and files: their names and ranges, and the optional libraries they need."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, SupportsInt, cast

from bpengine.errors import ConfigError, unknown
from bpengine.extras import cure


def optional(module: str, needed_by: str, extra: str) -> ModuleType:
    """Import an optional library, or raise an error that says how to install its extra.

    Raises: ConfigError with the cure when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise ConfigError(f"{needed_by} requires {library}, which is not installed. {cure(extra)}") from error


def check_options(owner: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that `function` does not have.

    Raises: ConfigError with the nearest names, or saying that there are none.
    """
    known = [name for name in inspect.signature(function).parameters if name != "path"]
    for name in options:
        if not known:
            raise ConfigError(f"{owner} has no options, got {name!r}.")
        if name not in known:
            raise unknown(f"option of {owner}:", name, known)


def whole(owner: str, name: str, value: object, minimum: int) -> int:
    """Return `value` as an int.

    Raises: ConfigError unless it is a whole number of at least `minimum`.
    """
    try:
        number = int(cast(SupportsInt, value))
        exact = bool(number == value)
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact or number < minimum:
        raise ConfigError(f"{owner} requires {name} to be a whole number of at least {minimum}, got {value!r}.")
    return int(number)


def between(owner: str, name: str, value: float, low: float, high: float) -> float:
    """Return `value`.

    Raises: ConfigError unless low <= value <= high (a NaN is outside).
    """
    if not low <= value <= high:
        raise ConfigError(f"{owner} requires {low} <= {name} <= {high}, got {value!r}.")
    return float(value)


def exactly(owner: str, name: str, value: object, only: int) -> None:
    """Refuse every value but one.

    Raises: ConfigError unless value == only.
    """
    if value != only:
        raise ConfigError(f"{owner} requires {name} = {only}, got {value!r}.")
