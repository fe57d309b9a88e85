"""Explanation: the numbers of one unit in a training step, as text, table, rows and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bpengine.explain.result import ExplainResult, translator_for
from bpengine.explain.units.tables import (
    explanation_dict,
    explanation_rows,
    explanation_table,
    table_cells,
    table_heads,
)
from bpengine.explain.units.text import explanation_lines
from bpengine.explain.units.unit_result import UnitResult
from bpengine.output.rich_form import table

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True, kw_only=True)
class Explanation(UnitResult, ExplainResult):
    """One unit in a training step; the fields are those of `UnitResult`, every gradient a sum of terms.

    >>> import bpengine as bp
    >>> xor = bp.data.load("xor")
    >>> model = bp.Model(bp.Network(2, [bp.Dense(2, "sigmoid"), bp.Dense(1)], "half_sum_squares"), dtype="float64")
    >>> bp.explain(model, xor.x, xor.y, layer=0, unit=1).adds_up
    True
    """

    _text_first: ClassVar = True

    def text(self, lang: str | None = None, largest: int = 12) -> str:
        """Return the explanation in words, English ("en") or Portuguese ("pt"); sums show their `largest` terms."""
        return "\n".join(explanation_lines(self, translator_for(lang), largest))

    def table(self, lang: str | None = None, largest: int = 12) -> RichTable:
        """Return a rich table of all terms (`rich.print(explanation.table())`)."""
        return explanation_table(self, translator_for(lang), largest)

    def to_rows(self, largest: int | None = None) -> list[dict[str, Any]]:
        """Return one dict per term."""
        return explanation_rows(self, largest)

    def to_dict(self, largest: int | None = None) -> dict[str, Any]:
        """Return everything as plain values for JSON; a number that is not finite is None, and `first_bad` says why."""
        return explanation_dict(self, largest)

    def _html_tables(self) -> list[str]:
        translate = translator_for(None)
        return [table(table_heads(translate), list(table_cells(self, translate, 12)), most=200)]

    def __str__(self) -> str:
        return self.text()
