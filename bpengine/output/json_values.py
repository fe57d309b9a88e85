"""Plain values for JSON: tuples and arrays become lists, NumPy's numbers Python's, and numbers that are not finite None."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

JsonValue: TypeAlias = Any  # None, a truth value, a number, text, or a list or a dict of these


def json_object(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with its values converted for JSON at every depth.

    >>> json_object({"loss": float("inf"), "shape": (2, 3)})
    {'loss': None, 'shape': [2, 3]}
    """
    return {str(key): json_value(value) for key, value in values.items()}


def json_value(value: object) -> JsonValue:
    """Return a value converted for JSON: a tree of dicts, lists, texts, finite numbers, booleans and None."""
    if isinstance(value, dict):
        return json_object(value)
    if isinstance(value, (list, tuple)):
        return [json_value(part) for part in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        plain = value.tolist()
        return json_value(plain) if isinstance(plain, (list, float)) else plain
    return value
