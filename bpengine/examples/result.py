"""Result: the numbers of one worked example beside those of its source, and an assessment of each difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bpengine.examples.known import Known, Quantity
from bpengine.i18n.language import localized
from bpengine.output.json_values import json_object
from bpengine.output.rich_form import cell_text, lines, table, title, words
from bpengine.output.tabular import TabularResult
from bpengine.text_table import text_table

Reproduced = Literal["yes", "no", "explained"]
HEADS = ("quantity", "published", "engine", "difference", "tolerance", "reproduced", "note")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity of an example; numbers are floats or nested lists of floats.

    published: what the source prints, or None. ours: what the engine computes, or None where it cannot, as `note` says.
    reference: an independent float64 recomputation. difference: the largest, of ours from the published numbers, or from
    the reference where nothing is published. tolerance: the limit for that difference; None when the published number
    is known to differ, as `note` explains.
    reproduced: "yes" when ours agrees with the reference and with the published number, each within its tolerance;
    "explained" when the reason of a difference is known; else "no".

    >>> row = bp.examples.run("colah_computational_graph").rows[0]
    >>> row.quantity != ""
    True
    """

    quantity: str
    published: Any
    ours: Any
    reference: Any
    difference: float | None
    tolerance: float | None
    reproduced: Reproduced
    note: str


@dataclass(frozen=True, kw_only=True)
class Result(TabularResult):
    """One worked example on one backend: its rows, its errata, and the reason when it cannot be reproduced as a whole.

    >>> result = bp.examples.run("colah_computational_graph")
    >>> len(result.rows)
    3
    """

    name: str
    backend: str
    source: str
    network: str
    rows: tuple[Row, ...]
    errata: tuple[str, ...]
    reason: str | None

    @property
    def published(self) -> int:
        """How many published numbers (scalars or arrays) the example has."""
        return sum(row.published is not None for row in self.rows)

    @property
    def reproduced(self) -> int:
        """How many of the published numbers are reproduced."""
        return self._count("yes")

    @property
    def explained(self) -> int:
        """How many of the published numbers are not reproduced, for a known reason."""
        return self._count("explained")

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows, published or not, that are neither reproduced nor explained."""
        return tuple(row for row in self.rows if row.reproduced == "no")

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per quantity: the fields of `Row`."""
        return [asdict(row) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; what is not finite is None."""
        counts = {"published": self.published, "reproduced": self.reproduced, "explained": self.explained}
        return json_object({**asdict(self), "counts": counts})

    def __str__(self) -> str:
        return "\n".join(
            [*map(localized, (self._headline(), *self._remarks())), "", *text_table(words(HEADS), self._cells())]
        )

    def _headline(self) -> str:
        return f"{self.name} on {self.backend}: {self.reproduced} of {self.published} published numbers reproduced"

    def _remarks(self) -> list[str]:
        return [self.source, self.network, *self.errata, *([self.reason] if self.reason else [])]

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                r.quantity,
                *map(cell_text, (r.published, r.ours, r.difference, r.tolerance)),
                localized(r.reproduced),
                localized(r.note or "-"),
            )
            for r in self.rows
        ]

    def _html_parts(self) -> Iterator[str]:
        yield title(localized(self._headline()))
        yield lines(map(localized, self._remarks()))
        yield table(words(HEADS), self._cells(), most=200)

    def _count(self, answer: Reproduced) -> int:
        return sum(row.published is not None and row.reproduced == answer for row in self.rows)


def judge(known: Known, backend: str, ours: dict[str, Any]) -> Result:
    """Compare the computed quantities with the known ones.

    A computed quantity that is not in the table is a row that fails, so that every quantity is checked.
    """
    rows = [_row(quantity, ours.get(quantity.name)) for quantity in known.quantities]
    strange = ours.keys() - {quantity.name for quantity in known.quantities}
    rows += [
        Row(
            quantity=name,
            published=None,
            ours=_plain(ours[name]),
            reference=None,
            difference=None,
            tolerance=None,
            reproduced="no",
            note="unknown",
        )
        for name in sorted(strange)
    ]
    return Result(
        name=known.name,
        backend=backend,
        source=known.source,
        network=known.summary,
        rows=tuple(rows),
        errata=known.errata,
        reason=known.reason,
    )


def _row(quantity: Quantity, value: npt.ArrayLike | None) -> Row:
    agrees = value is not None and largest_difference(value, quantity.value) <= quantity.tolerance
    printed = quantity.published is not None
    target = quantity.published if printed else quantity.value
    limit = quantity.tol_published if printed else quantity.tolerance
    difference = None if value is None else largest_difference(value, target)
    as_printed = difference is not None and limit is not None and difference <= limit
    answer: Reproduced = "no"
    if quantity.explained and (agrees or value is None):
        answer = "explained"
    elif agrees and as_printed:
        answer = "yes"
    ours, note = _plain(value), quantity.explained or quantity.note
    return Row(
        quantity=quantity.name,
        published=quantity.published,
        ours=ours,
        reference=quantity.value,
        difference=difference,
        tolerance=limit,
        reproduced=answer,
        note=note,
    )


def largest_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the largest difference of two numbers or lists of numbers; infinite when their shapes differ."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(np.max(np.abs(a - b), initial=0.0)) if a.shape == b.shape else float("inf")


def _plain(value: npt.ArrayLike | None) -> float | list[Any] | None:
    return None if value is None else np.asarray(value, dtype=float).tolist()
