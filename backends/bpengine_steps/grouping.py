"""Operations that share a pass, gathered one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from bpengine_steps.ir import Node


class Gathered(Protocol):
    """A pass, by the nodes that are in it, in the order they were made."""

    nodes: list[Node]


Pass = TypeVar("Pass", bound=Gathered)


def merged(passes: Iterable[Pass], home: dict[int, Pass]) -> Pass | None:
    """Return one pass with the nodes of all the given ones, which `home` names as theirs, None when there is none."""
    distinct = list(dict.fromkeys(passes))
    if not distinct:
        return None
    first = distinct[0]
    for other in distinct[1:]:
        first.nodes = sorted(first.nodes + other.nodes, key=lambda node: node.number)
        home.update({node.number: first for node in other.nodes})
    return first
