"""Checks of class names: plain values, in the order of the class numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set

import numpy as np

from bpengine.errors import ConfigError

ClassName = str | int | float | bool


def check_class_names(names: object, classes: int) -> tuple[ClassName, ...] | None:
    """Return names as a tuple of text, whole numbers, numbers or truth values, each of its own type; None for None.

    Accepts lists, tuples, ranges, arrays of one axis (such as the first that `np.unique(y, return_inverse=True)` returns)
    and columns of tables; NumPy's scalars become Python's.
    Raises: ConfigError unless there are `classes` names, each plain, finite and different from all others, also as text.
    """
    if names is None:
        return None
    if (
        isinstance(names, (str, bytes, Mapping, Set))
        or not isinstance(names, Iterable)
        or getattr(names, "ndim", 1) != 1
    ):
        hint = "The order says which class each name belongs to."
        raise ConfigError(f"class_names requires a sequence of {classes} names, got {names!r}. {hint}")
    plain = tuple(_plain(name) for name in names)
    if len(plain) != classes:
        raise ConfigError(
            f"class_names requires {classes} names, one for each class, got {len(plain)}: {_listed(plain)}."
        )
    twice = [name for i, name in enumerate(plain) if name in plain[:i] or str(name) in map(str, plain[:i])]
    if twice:
        raise ConfigError(f"class_names requires different names, got {twice[0]!r} twice: {_listed(plain)}.")
    return plain


def is_plain(name: object) -> bool:
    """Return whether a model file can hold a name."""
    return isinstance(name, (str, int)) or (isinstance(name, float) and math.isfinite(name))  # a bool is an int


def name_text(name: ClassName) -> str:
    """Return a name as text; floats without a fraction as whole numbers, as tables of data have them."""
    return f"{name:g}" if isinstance(name, float) and float(f"{name:g}") == name else str(name)


def _plain(name: object) -> ClassName:
    value = name.item() if isinstance(name, np.generic) else name
    for kind in (bool, int, float, str):
        if isinstance(value, kind) and is_plain(value):
            return kind(value)  # as a plain str, also for a subclass
    hint = "Give text, whole numbers or finite numbers, for example names, y = np.unique(y, return_inverse=True)."
    raise ConfigError(f"class_names requires plain values, got {name!r} ({type(name).__name__}). {hint}")


def _listed(names: tuple[ClassName, ...]) -> str:
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
