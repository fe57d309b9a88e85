"""The numbers that the page shows of a step, each as the result of an operation, structured as in `content`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.page.content import Content, Label, data_label
from bpengine.explain.page.program.followed import numbers
from bpengine.explain.page.program.operations import Operations
from bpengine.explain.result import translator_for
from bpengine.explain.terms.sums import Sums, Term
from bpengine.explain.trace.trace import Trace
from bpengine.explain.units.explanation import Explanation
from bpengine.explain.units.text import back_label
from bpengine.explain.units.unit_result import ParameterSums
from bpengine.i18n.language import LANGUAGES

GAP = "{activation}"  # placeholder for the activation's name in the name of a term


class Untraced(Exception):
    """Raised for a shown number that is not the result of an operation."""


@dataclass(frozen=True)
class Sources:
    """Finds the operations of everything that `Content.take` adds to a table, in the same structure.

    A sum is {"left", "right", "value": arrays whose products are the terms; "labels": the numbers of the terms' names, of a
    shape that broadcasts to (sums, terms)}. `exchangeable` are activations that another can replace: `patterns` has the name
    of a term of one, by the number of the name, with the place and a placeholder for the activation's name.
    Raises Untraced where an operation is unknown.
    """

    content: Content
    operations: Operations
    exchangeable: Sequence[str]
    patterns: dict[int, Any] = field(default_factory=dict)

    def number(self, array: HostArray) -> int:
        """Return the number of the operation that an array is the result of; a plain array is a constant."""
        known = numbers(self.operations)(array)
        if known is None:
            raise Untraced
        return known

    def of(self, trace: Trace) -> dict[str, Any]:
        """Return the numbers of operations for one step."""
        units: list[dict[str, Any]] = []
        weights: list[dict[str, Any]] = []
        for explanation, column, label in self.content.explained(trace):
            units.append(self._unit(explanation, label))
            weights += [self._weight(part, i) for part, i, _ in self.content.shown_weights(explanation, column)]
        return {"units": units, "weights": weights}

    def _unit(self, e: Explanation, forward: Label) -> dict[str, Any]:
        arrays = {name: self.number(getattr(e, name)) for name in ("z", "a", "da", "dz")}
        kinds = (
            ("forward", e.forward, forward),
            ("incoming", e.incoming, back_label),
            ("through", e.through, back_label),
        )
        shown = {name: self._sums(sums, label) for name, sums, label in kinds}
        for name, sums, _ in kinds:
            drawn = self.content.drawn_terms(sums, e.place, ahead=name == "forward")
            if drawn is not None:
                shown[name] = {**(shown[name] or {}), "chosen": drawn}
        return {**arrays, **shown}

    def _sums(self, sums: Sums | None, label: Label) -> dict[str, Any] | None:
        if sums is None:
            return None
        known = {name: self.number(getattr(sums, name)) for name in ("left", "right", "value")}
        return {**known, "terms": sums.shape[1], "labels": self._labels(sums, label)}

    def _labels(self, sums: Sums, label: Label) -> list[list[int]]:
        """Return the numbers of the terms' names; one row where all sums have the same."""
        unit, row = np.atleast_2d(sums.unit), np.atleast_2d(sums.row)
        rows = max(unit.shape[0], row.shape[0])
        units, in_batch = (np.broadcast_to(array, (rows, sums.shape[1])).tolist() for array in (unit, row))
        named = [
            [self._name(_term(sums, i, units[r][i], in_batch[r][i]), label) for i in range(sums.shape[1])]
            for r in range(rows)
        ]
        return named[:1] if all(names == named[0] for names in named) else named

    def _name(self, term: Term, label: Label) -> int:
        number = self.content.labels.number(term, label)
        if term.kernel in self.exchangeable and number not in self.patterns:
            with_gap = replace(term, kernel=GAP)
            texts = {lang: label(with_gap, translator_for(lang)) for lang in LANGUAGES}
            self.patterns[number] = {"place": term.place, **texts}
        return number

    def _weight(self, part: ParameterSums, i: int) -> dict[str, Any]:
        update = part.update
        return {
            "i": i,
            **{name: self.number(getattr(update, name)) for name in ("old", "slope", "step_size", "new")},
            "slots": {
                name: [self.number(before), self.number(after)] for name, (before, after) in update.slots.items()
            },
            "gradient": self.number(part.gradient),
            "data": self._sums(part.data, data_label(part)),
            "penalties": [self.number(values) for _, values in part.penalties],
        }


def _term(sums: Sums, i: int, unit: int, row: int) -> Term:
    return Term(
        kernel=sums.kernel[i], place=sums.place[i], route=sums.route[i], unit=unit, row=row, left=0.0, right=0.0, product=0.0
    )  # fmt: skip


def leaves(state: dict[str, Any]) -> Iterator[tuple[list[Any], Any]]:
    """Yield the arrays of a training state by their path, in the order of its dicts."""
    for kind in ("params", "running", "slots"):
        for name, value in state[kind].items():
            for slot, array in enumerate(value if isinstance(value, list) else [value]):
                yield [kind, name, slot], array
    yield ["counter", "", 0], state["counter"]
