"""Worked examples of the literature, recomputed by the engine: `names()`, and `run(name, backend)` for one of them.

Each file of this package holds the examples of one source: functions that take a backend and return {quantity: value}.
The numbers that the sources print, their errata and an independent recomputation are in `known_examples.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bpengine.backend import Backend
from bpengine.examples import (
    brownlee,
    cs231n,
    graphs,
    mazur,
    ng,
    nielsen,
    playground,
    rashid,
    statquest,
    statquest_book,
    trask,
    xor,
)
from bpengine.examples.known import known, names
from bpengine.examples.result import Result, Row, judge
from bpengine.examples.tools import Desk

Example = Callable[[Desk], dict[str, Any]]
_SOURCES = (xor, mazur, statquest, statquest_book, ng, nielsen, cs231n, playground, graphs, trask, rashid, brownlee)
EXAMPLES: Mapping[str, Example] = MappingProxyType(
    {name: example for source in _SOURCES for name, example in source.EXAMPLES.items()}
)


def run(name: str, backend: str | Backend = "numpy") -> Result:
    """Recompute one example in float64 and compare it with the published numbers.

    Raises ConfigError for a name that does not exist, BackendUnavailable where the backend cannot run.

    >>> bp.examples.run("colah_computational_graph").failures
    ()
    """
    entry = known(name)
    desk = Desk(backend)
    return judge(entry, desk.backend.name, EXAMPLES[name](desk))


__all__ = ["EXAMPLES", "Result", "Row", "names", "run"]
