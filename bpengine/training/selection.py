"""Selection: the parameters that a setting or a dict names, by name or pattern.

`names` maps every name of a parameter to its first one: with shared layers it has several (`Network.names`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from bpengine.errors import ConfigError, unknown

Value = TypeVar("Value")


def select(who: str, setting: str, value: str | Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the parameters that match a pattern ("*.bias" matches every bias), in the order of `names`.

    Raises ConfigError for a value that is no pattern or list of them, and for a pattern that matches nothing.
    """
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, (list, tuple, set, frozenset)) or not all(isinstance(p, str) for p in patterns):
        raise ConfigError(
            f"{who} requires {setting} to be a name such as '1.bias' or '*.weight', or a list of them, got {value!r}."
        )
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise unknown("parameter", pattern, names)
    matched = {known for name, known in names.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}
    return tuple(known for known in dict.fromkeys(names.values()) if known in matched)


def require_some(who: str, names: Sequence[str]) -> None:
    """Raise ConfigError for a network without parameters."""
    if not names:
        raise ConfigError(f"{who} requires at least one parameter, got a network without any. Add a Dense layer.")


def known(who: str, values: Mapping[str, Value], names: Mapping[str, str]) -> dict[str, Value]:
    """Return values by the first names of their parameters; raise ConfigError for an unknown or a repeated parameter."""
    by_first_name: dict[str, Value] = {}
    for name, value in values.items():
        if name not in names:
            raise unknown("parameter", name, names)
        if names[name] in by_first_name:
            raise ConfigError(
                f"{who} requires every parameter once, got {names[name]!r} twice: its layer is also at the place of {name!r}."
            )
        by_first_name[names[name]] = value
    return by_first_name
