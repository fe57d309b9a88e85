"""How an explanation is told: as lines of text, as a rich table, as rows for a data frame, as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from bpengine.check.report import finite
from bpengine.explain.labels import back_label, forward_label
from bpengine.explain.sums import Sums, Terms
from bpengine.explain.words import Words, factor, shown, words

if TYPE_CHECKING:
    from bpengine.explain.unit import Explanation, ParameterSums

FEW = 4  # rows of a batch that are told in full

Part = tuple[str, str, Sums, int]  # quantity ("z", "dL/da", ...), name of the total, sums, which of them


def explanation_text(e: Explanation, lang: str, largest: int) -> str:
    """Return the explanation as text."""
    return "\n".join(_lines(e, words(lang), largest))


def _lines(e: Explanation, say: Words, largest: int) -> Iterator[str]:
    kind = ", ".join([e.kind, *([e.activation] if e.activation else [])])
    yield f"{say('unit', unit=e.unit, place=e.place, kind=kind)}, {say('hidden' if e.hidden else 'output')}"
    yield say("loss", name=e.loss_name, reduction=e.reduction, rows=e.batch, value=shown(e.loss))
    if e.first_bad:
        yield say("bad", cause=e.first_bad)
    if not e.adds_up and not e.first_bad:
        yield say("off", ulps=f"{e.worst_ulps:.3g}")
    told = _chosen(e)
    for r in told:
        yield ""
        yield from _row_lines(e, r, say, largest)
    if len(e.rows) > len(told):
        yield ""
        yield say("rows_left", count=len(e.rows) - len(told))
    if e.parameters:
        yield ""
        yield from _parameter_lines(e, say, largest)


def _chosen(e: Explanation) -> list[int]:
    """Return which rows are told in full: those with the largest gradients, in their order."""
    size = np.where(np.isfinite(e.dz), np.abs(e.dz), np.inf)
    return sorted(int(i) for i in np.argsort(-size, kind="stable")[:FEW])


def _row_lines(e: Explanation, r: int, say: Words, largest: int) -> Iterator[str]:
    yield f"{say('row', row=e.rows[r])}"
    if e.forward is not None:
        yield "  " + say("forward" if e.forward.kernel[0].startswith("dense") else "forward_other")
        yield from _sum_lines(e.forward.terms(r, largest), say, forward_label, say("sum_z"))
    ending = say("activation", name=e.activation) if e.activation else say("output_a")
    yield f"    {ending} = {shown(float(e.a[r]))}"
    if e.incoming is None:
        yield "  " + say("nothing")
        return
    yield "  " + say(_backward_head(e.incoming))
    yield from _sum_lines(e.incoming.terms(r, largest), say, back_label, say("sum_da"))
    if e.through is None:
        yield "  " + say("no_slope")
        return
    yield "  " + say("times_slope", name=e.activation)
    yield from _sum_lines(e.through.terms(r, largest), say, back_label, say("sum_dz"))


def _backward_head(incoming: Sums) -> str:
    if set(incoming.route) == {"loss"}:
        return "from_loss"
    return "backward" if all(name.startswith("dense") for name in incoming.kernel) else "backward_other"


def _sum_lines(terms: Terms, say: Words, label: Any, total: str) -> Iterator[str]:
    """Yield a line per term, the rest, the rounding where it would show, and the total."""
    named = [(label(term, say), f"{shown(term.left)} x {factor(term.right)} = {shown(term.product)}") for term in terms]
    if terms.left_out:
        named.append((say("rest", count=terms.left_out), shown(terms.rest)))
    if terms.rounding and abs(terms.rounding) > 1e-10 * abs(terms.value):
        named.append((say("rounding"), shown(terms.rounding, 2)))
    width = max(len(name) for name, _ in [*named, (total, "")])
    for name, text in [*named, (total, shown(terms.value))]:
        yield f"    {name.ljust(width)}  {text}"


def _parameter_lines(e: Explanation, say: Words, largest: int) -> Iterator[str]:
    yield say("parameters")
    if e.reduction != "sum":
        yield say("averaged")
    update = e.parameters[0].update
    for part in e.parameters:
        size = np.where(np.isfinite(part.gradient), np.abs(part.gradient), np.inf)
        kept = sorted(int(i) for i in np.argsort(-size, kind="stable")[:largest])
        for i in kept:
            yield from _one_parameter(e, part, i, say)
        if len(kept) < len(part.gradient):
            yield f"  {say('weights_left', count=len(part.gradient) - len(kept))}"
    if not update.plain:
        yield say("rule_does", formula="; ".join(f"{name} = {text}" for name, text in update.formula.items()))


def _one_parameter(e: Explanation, part: ParameterSums, i: int, say: Words) -> Iterator[str]:
    terms, update = part.data.terms(i), part.update
    bias = f" ({say('bias')})" if part.bias[i] else ""
    if len(terms.terms) <= FEW:
        text = " + ".join(f"{shown(t.left, 6)} x {factor(t.right, 6)}" for t in terms)
    else:
        text = say("sum_rows", count=len(terms.terms))
    more = "".join(f" + {say('penalty', name=n)} {factor(float(v[i]))}" for n, v in part.penalties)
    yield f"  {part.labels()[i]}{bias}: {say('gradient')} = {text}{more} = {shown(float(part.gradient[i]))}"
    old, new, step = (float(a[i]) for a in (update.old, update.new, update.step_size))
    rate, slope = shown(update.learning_rate, 6), shown(float(update.slope[i]))
    if update.plain:
        yield f"    {say('step_size', slope=slope, rate=rate, step=shown(step))}"
    else:
        slots = ", ".join(
            f"{n} {shown(float(a[i]), 6)} -> {shown(float(b[i]), 6)}" for n, (a, b) in update.slots.items()
        )
        yield f"    {say('step', rule=update.rule, rate=rate)}{': ' if slots else ''}{slots}"
    yield f"    {say('new_value', old=shown(old), step=factor(step), new=shown(new))}"


def _parts(e: Explanation) -> Iterator[Part]:
    """Yield every sum of an explanation with what it is."""
    for quantity, sums in (("z", e.forward), ("dL/da", e.incoming), ("dL/dz", e.through)):
        if sums is not None:
            yield from ((quantity, f"{e.place}:{e.unit}", sums, r) for r in range(len(e.rows)))
    for part in e.parameters:
        yield from (("dL/dw", name, part.data, i) for i, name in enumerate(part.labels()))


def explanation_rows(e: Explanation, largest: int | None = None) -> list[dict[str, Any]]:
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


def explanation_json(e: Explanation, largest: int | None = None) -> dict[str, Any]:
    """Return everything as plain values."""
    plain = {f.name: getattr(e, f.name) for f in fields(e) if f.name not in ("forward", "incoming", "through")}
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in plain.items()}
    for name in ("forward", "incoming", "through"):
        sums: Sums | None = getattr(e, name)
        plain[name] = None if sums is None else [sums.terms(r, largest).to_json() for r in range(len(e.rows))]
    plain["parameters"] = [
        entry for part in e.parameters for entry in _parameter_json(part, largest)
    ]  # fmt: skip
    told: dict[str, Any] = finite({**plain, "adds_up": e.adds_up, "worst_ulps": e.worst_ulps})
    return told


def _parameter_json(part: ParameterSums, largest: int | None) -> Iterator[dict[str, Any]]:
    update = part.update
    for i, name in enumerate(part.labels()):
        numbers = {n: float(getattr(update, n)[i]) for n in ("old", "slope", "step_size", "new")}
        slots = {n: {"old": float(a[i]), "new": float(b[i])} for n, (a, b) in update.slots.items()}
        yield {
            "name": name, "bias": part.bias[i], "gradient": float(part.gradient[i]),
            "data": part.data.terms(i, largest).to_json(), "penalties": {n: float(v[i]) for n, v in part.penalties},
            "update": {"rule": update.rule, "formula": dict(update.formula), "options": dict(update.options),
                       "learning_rate": update.learning_rate, **numbers, "slots": slots},
        }  # fmt: skip


def explanation_table(e: Explanation, lang: str, largest: int) -> Any:
    """Return a rich table: a line per term, and the total of each sum."""
    from rich import box
    from rich.table import Table

    say = words(lang)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in ("quantity", "term", "left", "right", "product"):
        table.add_column(say(f"head_{head}"), justify="left" if head in ("quantity", "term") else "right")
    last = max((max(_chosen(e), default=0)), 0)
    for quantity, name, sums, r in _parts(e):
        if quantity != "dL/dw" and r not in _chosen(e):
            continue
        terms = sums.terms(r, largest)
        where = f", {say('row', row=e.rows[r]).lower()}" if quantity != "dL/dw" and last else ""
        label = forward_label if quantity == "z" else back_label
        for term in terms:
            text = say("row", row=term.row) if quantity == "dL/dw" else label(term, say)
            table.add_row("", text, shown(term.left), shown(term.right), shown(term.product))
        if terms.left_out:
            table.add_row("", say("rest", count=terms.left_out), "", "", shown(terms.rest))
        head = f"{quantity}{where}" if quantity != "dL/dw" else f"dL/d {name}"
        table.add_row(head, "=", "", "", shown(terms.value), end_section=True)
    return table
