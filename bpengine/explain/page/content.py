"""Content: the part of a step that the page shows, from the explanations: units, weights and their sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bpengine.explain.network_columns import Column
from bpengine.explain.page.packing import NumberTable
from bpengine.explain.result import translator_for
from bpengine.explain.terms.sums import Sums, Term, Terms, exact_sum
from bpengine.explain.trace.trace import Trace
from bpengine.explain.units.explain import explain_trace
from bpengine.explain.units.explanation import Explanation
from bpengine.explain.units.text import back_label, forward_label
from bpengine.explain.units.unit_result import ParameterSums
from bpengine.i18n.language import LANGUAGES
from bpengine.i18n.translate import Translate
from bpengine.system.quiet import Quiet

Label = Callable[[Term, Translate], str]


@dataclass
class Labels:
    """The names of terms, each once and in every language."""

    known: dict[tuple[str, ...], int] = field(default_factory=dict)
    _seen: dict[Any, int] = field(default_factory=dict)

    def number(self, term: Term, label: Label) -> int:
        """Return the number of a term's name."""
        key = (label, term.kernel, term.place, term.route, term.unit, term.row)
        if key not in self._seen:
            texts = tuple(label(term, translator_for(lang)) for lang in LANGUAGES)
            self._seen[key] = self.known.setdefault(texts, len(self.known))
        return self._seen[key]

    def texts(self) -> dict[str, list[str]]:
        """Return all names by language, in the order of their numbers."""
        return {lang: [texts[i] for texts in self.known] for i, lang in enumerate(LANGUAGES)}


@dataclass(frozen=True)
class Content:
    """The selection from every step: the units of `columns`, in the `rows` of the batch that are shown.

    terms: the number of terms of a sum that are written out; the others are added up. inputs: the names of the features, or
    None. `take` adds the numbers of a step to a table and returns their positions.
    """

    columns: Sequence[Column]
    rows: Sequence[int]
    terms: int
    inputs: Sequence[str] | None
    labels: Labels

    def explained(self, trace: Trace) -> Iterator[tuple[Explanation, int, Label]]:
        """Yield the explanation of every shown unit, the number of its column, and a function that names its forward terms."""
        for number, column in enumerate(self.columns[1:], start=1):
            label = self.input_label if column.sources == (0,) else forward_label
            for unit in column.units:
                yield explain_trace(trace, column.place, unit), number, label

    def take(self, trace: Trace, sheet: NumberTable) -> dict[str, Any]:
        """Return the structure of one step, the same for every step of a run; its numbers are in the table."""
        units: list[dict[str, Any]] = []
        weights: list[dict[str, Any]] = []
        for explanation, number, label in self.explained(trace):
            own = [
                self._weight(sheet, part, i, number, explanation.unit, start)
                for part, i, start in self.shown_weights(explanation, number)
            ]
            joined = list(range(len(weights), len(weights) + len(own)))
            units.append(
                {**self._unit(sheet, explanation, label), "column": number, "unit": explanation.unit, "weights": joined}
            )
            weights += own
        x = [{"unit": j, "x": sheet.put_all(trace.x[self.rows, j])} for j in self.columns[0].units]
        return {"inputs": x, "units": units, "weights": weights, "loss": sheet.put(trace.loss)}

    def _unit(self, sheet: NumberTable, e: Explanation, forward: Label) -> dict[str, Any]:
        rows = list(self.rows)
        numbers: dict[str, Any] = {n: sheet.put_all(getattr(e, n)[rows]) for n in ("z", "a", "da", "dz")}
        with Quiet():
            numbers |= {"mean": sheet.put(float(np.mean(e.a))), "total": sheet.put(exact_sum(e.dz))}
        return {
            **numbers, "activation": e.activation, "hidden": e.hidden,
            "forward": self._sums(sheet, e.forward, forward, self.drawn_terms(e.forward, e.place, ahead=True)),
            "incoming": self._sums(sheet, e.incoming, back_label, self.drawn_terms(e.incoming, e.place)),
            "through": self._sums(sheet, e.through, back_label, self.drawn_terms(e.through, e.place)),
        }  # fmt: skip

    def input_label(self, term: Term, translate: Translate) -> str:
        """Name a term of a unit that takes the network's inputs: by the feature's name where there is one."""
        plain = forward_label(term, translate)
        return self.inputs[term.unit] if self.inputs and plain == translate("input", unit=term.unit) else plain

    def drawn_terms(self, sums: Sums | None, place: str, *, ahead: bool = False) -> list[int] | None:
        """Return which terms of a unit's sums are written out: those of drawn units, and those of no unit (biases).

        None where every unit is drawn: then the largest terms are written out. ahead: the sum is the layer's forward sum,
        over the units before it.
        """
        by_place = {column.place: column for column in self.columns}
        units = None if sums is None else np.atleast_2d(sums.unit)
        if sums is None or units is None or np.any(units != units[0]) or all(column.whole for column in self.columns):
            return None
        sources = by_place[place].sources
        before = self.columns[sources[0]] if sources else None
        numbers = np.broadcast_to(units[0], sums.shape[1])
        shown = [
            i
            for i, (where, route) in enumerate(zip(sums.place, sums.route, strict=True))
            for column in [before if ahead else by_place.get(where)]
            if route == "bias" or column is None or int(numbers[i]) in column.units
        ]
        return shown if len(shown) < sums.shape[1] - 1 else None

    def _sums(
        self, sheet: NumberTable, sums: Sums | None, label: Label, chosen: Sequence[int] | None
    ) -> list[Any] | None:
        if sums is None:
            return None
        return [self._terms(sheet, sums.terms(r, self.terms, chosen), label) for r in self.rows]

    def _terms(self, sheet: NumberTable, terms: Terms, label: Label) -> dict[str, Any]:
        written = [
            [sheet.put(self.labels.number(t, label)), sheet.put(t.left), sheet.put(t.right), sheet.put(t.product)]
            for t in terms
        ]
        rest = {"left_out": terms.left_out, "rest": sheet.put(terms.rest)} if terms.left_out else {}
        return {"value": sheet.put(terms.value), "terms": written, "rounding": sheet.put(terms.rounding), **rest}

    def shown_weights(self, e: Explanation, column: int) -> Iterator[tuple[ParameterSums, int, int | None]]:
        """Yield a unit's parameters, each with its number and the drawn unit that it leads from, None for a bias."""
        source = self.columns[column].sources
        for part in e.parameters:
            first = 1 if part.bias[0] and len(part.bias) > 1 else 0  # a bias kept as the first row of the weights
            for i in range(len(part.indices)):
                start = None if part.bias[i] or len(part.indices[i]) < 2 or not source else part.source(i) - first
                if start is None or start in self.columns[source[0]].units:
                    yield part, i, start

    def _weight(
        self, sheet: NumberTable, part: ParameterSums, i: int, column: int, unit: int, start: int | None
    ) -> dict[str, Any]:
        update = part.update
        slots = {n: [sheet.put(a[i]), sheet.put(b[i])] for n, (a, b) in update.slots.items()}
        numbers = {n: sheet.put(getattr(update, n)[i]) for n in ("old", "slope", "step_size", "new")}
        return {
            "name": part.label(i), "column": column, "unit": unit, "from": start, "bias": part.bias[i], **numbers,
            "slots": slots, "rate": sheet.put(update.learning_rate), "gradient": sheet.put(part.gradient[i]),
            "data": self._terms(sheet, part.data.terms(i, self.terms), data_label(part)),
            "penalties": [[kernel, sheet.put(values[i])] for kernel, values in part.penalties],
        }  # fmt: skip


def data_label(part: ParameterSums) -> Label:
    """Return a function that names the terms of a gradient over the batch."""
    return _use_label if len(part.uses) > 1 else _row_label


def _row_label(term: Term, translate: Translate) -> str:
    return translate("row", row=term.row)


def _use_label(term: Term, translate: Translate) -> str:
    """Name a term of a parameter that several layers share."""
    return f"{_row_label(term, translate)}, {translate('use', place=term.place)}"
