"""An explanation as rows for a data frame, as JSON, as a rich table: every term of every sum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from bpengine.explain.terms.sums import Sums
from bpengine.explain.units.text import back_label, forward_label, rows_in_full
from bpengine.explain.units.unit_result import ParameterSums, UnitResult
from bpengine.i18n.translate import Translate, format_number
from bpengine.output.json_values import json_object

if TYPE_CHECKING:
    from rich.table import Table as RichTable

COLUMNS = ("quantity", "term", "left", "right", "product")
Part = tuple[str, str, Sums, int]  # quantity ("z", "dL/da", ...), name of the total, sums, which of them


def _parts(e: UnitResult) -> Iterator[Part]:
    """Yield every sum of an explanation with its quantity."""
    for quantity, sums in (("z", e.forward), ("dL/da", e.incoming), ("dL/dz", e.through)):
        if sums is not None:
            yield from ((quantity, f"{e.place}:{e.unit}", sums, r) for r in range(len(e.rows)))
    for part in e.parameters:
        yield from (("dL/dw", name, part.data, i) for i, name in enumerate(part.labels()))


def explanation_rows(e: UnitResult, largest: int | None = None) -> list[dict[str, Any]]:
    """Return one dict per term, the rest of a sum as a term of its own."""
    rows = []
    for quantity, name, sums, r in _parts(e):
        terms = sums.terms(r, largest)
        row = e.rows[r] if quantity != "dL/dw" else None
        about = {"quantity": quantity, "of": name, "row": row, "value": terms.value}
        rows += [{**about, **_term_row(vars(term))} for term in terms]
        for kind, number in (("rest", terms.rest if terms.left_out else 0.0), ("rounding", terms.rounding)):
            if number:
                rows.append({**about, **_term_row({"route": kind, "product": number})})
    return rows


def _term_row(term: dict[str, Any]) -> dict[str, Any]:
    names = {"kernel": "kernel", "place": "from_layer", "unit": "from_unit", "row": "from_row", "route": "route"}
    values = {new: term.get(old) for old, new in names.items()}
    return {**values, **{name: term.get(name, math.nan) for name in ("left", "right", "product")}}


def explanation_dict(e: UnitResult, largest: int | None = None) -> dict[str, Any]:
    """Return everything as plain values."""
    plain = {f.name: getattr(e, f.name) for f in fields(e) if f.name not in ("forward", "incoming", "through")}
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in plain.items()}
    for name in ("forward", "incoming", "through"):
        sums: Sums | None = getattr(e, name)
        plain[name] = None if sums is None else [sums.terms(r, largest).to_dict() for r in range(len(e.rows))]
    plain["parameters"] = [entry for part in e.parameters for entry in _parameter_dict(part, largest)]
    plain["first_bad"] = e.first_bad and str(e.first_bad)
    return json_object({**plain, "adds_up": e.adds_up, "worst_ulps": e.worst_ulps})


def _parameter_dict(part: ParameterSums, largest: int | None) -> Iterator[dict[str, Any]]:
    update = part.update
    for i, name in enumerate(part.labels()):
        numbers = {n: float(getattr(update, n)[i]) for n in ("old", "slope", "step_size", "new")}
        slots = {n: {"old": float(a[i]), "new": float(b[i])} for n, (a, b) in update.slots.items()}
        yield {
            "name": name, "bias": part.bias[i], "gradient": float(part.gradient[i]),
            "data": part.data.terms(i, largest).to_dict(), "penalties": {n: float(v[i]) for n, v in part.penalties},
            "update": {"rule": update.rule, "formula": dict(update.formula), "options": dict(update.options),
                       "learning_rate": update.learning_rate, **numbers, "slots": slots},
        }  # fmt: skip


def explanation_table(e: UnitResult, translate: Translate, largest: int) -> RichTable:
    """Return a rich table: a line per term, and the total of each sum."""
    from rich import box
    from rich.table import Table

    caption = translate("bad", cause=e.first_bad.translated(translate)) if e.first_bad else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, caption=caption)
    for name, head in zip(COLUMNS, table_heads(translate), strict=True):
        table.add_column(head, justify="left" if name in ("quantity", "term") else "right")
    for part in _shown_parts(e):
        *lines, total = _table_lines(e, part, translate, largest)
        for line in lines:
            table.add_row("", *line)
        table.add_row(*total, end_section=True)
    return table


def table_heads(translate: Translate) -> list[str]:
    """Return the heads of the table of all terms."""
    return [translate(f"head_{name}") for name in COLUMNS]


def table_cells(e: UnitResult, translate: Translate, largest: int) -> Iterator[tuple[str, ...]]:
    """Yield the lines of that table as plain cells; the total of a sum stands below its terms."""
    for part in _shown_parts(e):
        *lines, total = _table_lines(e, part, translate, largest)
        yield from (("", *line) for line in lines)
        yield total


def _shown_parts(e: UnitResult) -> Iterator[Part]:
    full = set(rows_in_full(e))
    yield from (part for part in _parts(e) if part[0] == "dL/dw" or part[3] in full)


def _table_lines(e: UnitResult, part: Part, translate: Translate, largest: int) -> Iterator[tuple[str, ...]]:
    """Yield a line per term and one for those left out, without the first column; and the total, with it."""
    quantity, name, sums, r = part
    weight, terms = quantity == "dL/dw", sums.terms(r, largest)
    label = partial(forward_label, names=e.input_names) if quantity == "z" else back_label
    for term in terms:
        text = translate("row", row=term.row) if weight else label(term, translate)
        if weight and len(set(sums.place)) > 1:
            text += f", {translate('use', place=term.place)}"
        yield text, format_number(term.left), format_number(term.right), format_number(term.product)
    if terms.left_out:
        yield translate("rest", count=terms.left_out), "", "", format_number(terms.rest)
    head = f"dL/d {name}" if weight else quantity
    if not weight and len(e.rows) > 1:
        head += f", {translate('row', row=e.rows[r]).lower()}"
    yield head, "=", "", "", format_number(terms.value)
