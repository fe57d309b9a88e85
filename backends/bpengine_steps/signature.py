"""The signature of a program: the form of its state, and shapes, dtypes and memory layout of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bpengine_steps.ir import HostArray, Path, Untraceable

Tree: TypeAlias = Any  # arrays in dicts, lists and tuples, one inside another
Rows: TypeAlias = tuple[Any, ...]  # the state of a fit: arrays of the library that runs the step


def leaves(tree: Tree, path: Path = ()) -> list[tuple[Path, Any]]:
    """Return (path, leaf) of nested dicts, lists and tuples."""
    listed: list[tuple[Path, Any]] = []
    _list(tree, path, listed)
    return listed


def _list(tree: Tree, path: Path, listed: list[tuple[Path, Any]]) -> None:
    """Add the leaves of a tree; most are arrays, and asking whether something is a Mapping takes ten times as long."""
    if isinstance(tree, np.ndarray):
        listed.append((path, tree))
    elif isinstance(tree, (dict, Mapping)):
        for key, value in tree.items():
            _list(value, (*path, key), listed)
    elif isinstance(tree, (list, tuple)):
        for place, value in enumerate(tree):
            _list(value, (*path, place), listed)
    else:
        listed.append((path, tree))


def rebuilt(tree: Tree, values: Mapping[Path, Any], path: Path = ()) -> Tree:
    """Return a tree of the same form with the given leaves."""
    if isinstance(tree, np.ndarray):
        return values[path]
    if isinstance(tree, (dict, Mapping)):
        return {key: rebuilt(value, values, (*path, key)) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [rebuilt(value, values, (*path, key)) for key, value in enumerate(tree)]
    return values[path]


@dataclass(frozen=True)
class Signature:
    """Shapes and dtypes that a program requires; `strides`, in bytes, of each array of the state that is not in C order."""

    state: tuple[tuple[Path, tuple[int, ...], str], ...]
    rows: tuple[tuple[tuple[int, ...], str], ...]
    dtype: str
    ordered: bool
    strides: tuple[tuple[Path, tuple[int, ...]], ...] = ()

    @classmethod
    def of(cls, state: Tree, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray) -> Signature:
        """Return the signature of a run; raise Untraceable for data that are not contiguous."""
        if any(not a.flags.c_contiguous or a.dtype.hasobject for a in data):
            raise Untraceable("data that do not lie in one piece")
        rows = tuple(((len(a) if order is None else order.shape[1], *a.shape[1:]), a.dtype.str) for a in data)
        pairs = leaves(state)
        strides = tuple([(p, a.strides) for p, a in pairs if not a.flags.c_contiguous])
        kinds = tuple([(p, a.shape, a.dtype.str) for p, a in pairs])
        return cls(kinds, rows, lr.dtype.str, order is not None, strides)
