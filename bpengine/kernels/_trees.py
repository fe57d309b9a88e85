"""Residuals as trees: what a layer keeps for its backward may be nested tuples, lists, dicts and dataclasses of arrays."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

Tree: TypeAlias = Any  # arrays in tuples, lists, dicts and dataclasses, one inside another


def leaves(tree: object) -> Iterator[Any]:
    """Yield the leaves of a tree of tuples, lists, dicts and dataclasses, in a fixed order."""
    if isinstance(tree, Mapping):
        for part in tree.values():
            yield from leaves(part)
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from leaves(part)
    elif is_dataclass(tree) and not isinstance(tree, type):
        for item in fields(tree):
            yield from leaves(getattr(tree, item.name))
    else:
        yield tree


def rebuilt(tree: Tree, values: Iterator[Any]) -> Tree:
    """Return a tree of the same form, each leaf replaced by the next of `values`."""
    if isinstance(tree, Mapping):
        return {name: rebuilt(part, values) for name, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [rebuilt(part, values) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if is_dataclass(tree) and not isinstance(tree, type):
        new = copy.copy(tree)
        for item in fields(tree):
            object.__setattr__(new, item.name, rebuilt(getattr(tree, item.name), values))
        return new
    return next(values)
