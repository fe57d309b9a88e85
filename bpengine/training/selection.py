"""Selection: the parameters that a setting or a dict names, by any of their names; a setting may have patterns.

`names` says by every name of a parameter the one it is known by: with shared layers it goes by several (`Network.names`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from bpengine.errors import ConfigError, unknown

Value = TypeVar("Value")


def select(who: str, setting: str, given: str | Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the parameters that match a pattern, "*.bias" standing for every bias, in the order of `names`.

    Raises ConfigError for a setting that is no pattern or list of them, and for a pattern that nothing matches.
    """
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, (list, tuple, set, frozenset)) or not all(isinstance(p, str) for p in patterns):
        raise ConfigError(
            f"{who} requires {setting} to be a name such as '1.bias' or '*.weight', or a list of them, got {given!r}."
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
    """Return values by the names that parameters are known by; raise ConfigError for an unknown or a repeated one."""
    found: dict[str, Value] = {}
    for name, value in values.items():
        if name not in names:
            raise unknown("parameter", name, names)
        if names[name] in found:
            raise ConfigError(
                f"{who} requires every parameter once, got {names[name]!r} twice: its layer is also at the place of {name!r}."
            )
        found[names[name]] = value
    return found
