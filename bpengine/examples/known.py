"""The known numbers: worked examples of the literature, what their sources print, and a float64 recomputation of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from bpengine.errors import unknown


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity: the reference value, the published value with its precision, and the reason if it is not reproduced."""

    name: str
    value: Any
    tolerance: float
    published: Any = None
    tol_published: float | None = None
    explained: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Known:
    """One example of the table: `network` and `data` hold its weights (outputs, inputs) and rows as lists."""

    name: str
    source: str
    summary: str
    network: dict[str, Any]
    data: dict[str, Any]
    quantities: tuple[Quantity, ...]
    errata: tuple[str, ...]
    reason: str | None


def names() -> tuple[str, ...]:
    """Return the names of all examples, in the order of the table.

    >>> "mazur_222" in bp.examples.names()
    True
    """
    return tuple(_table())


def known(name: str) -> Known:
    """Return an example of the table; raise ConfigError with the nearest names when there is none."""
    if name not in _table():
        raise unknown("example", name, _table())
    entry = _table()[name]
    quantities = tuple(_quantity(key, row, entry["tolerance"]) for key, row in entry["expected"].items())
    return Known(
        name=name,
        source=entry["source"],
        summary=entry["summary"],
        network=entry["network"],
        data=entry["data"],
        quantities=quantities,
        errata=tuple(entry["errata"]),
        reason=entry.get("reason"),
    )


def _quantity(name: str, row: dict[str, Any], general: dict[str, float]) -> Quantity:
    size = float(np.max(np.abs(np.asarray(row["value"], dtype=float)), initial=0.0))
    tolerance = row.get("atol", general["atol"]) + row.get("rtol", general["rtol"]) * size
    kept = ("published", "tol_published", "explained", "note")
    return Quantity(name=name, value=row["value"], tolerance=tolerance, **{key: row[key] for key in kept if key in row})


@cache
def _table() -> dict[str, Any]:
    text = files("bpengine.examples").joinpath("known_examples.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)["examples"]
    return table
