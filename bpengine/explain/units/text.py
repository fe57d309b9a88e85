"""The text of an explanation, line by line; each sum shows its largest terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bpengine.explain.terms.sums import Sums, Terms
from bpengine.explain.units.labels import back_label, family_of, forward_label
from bpengine.explain.units.unit_result import ParameterSums, UnitResult
from bpengine.i18n.translate import Words, factor, shown

FEW = 4  # rows of a batch that are shown in full, and terms of a sum over it


def explanation_lines(e: UnitResult, say: Words, largest: int) -> Iterator[str]:
    """Yield the lines of an explanation; each sum shows its `largest` terms."""
    kind = ", ".join([e.kind, *([e.activation] if e.activation else [])])
    yield f"{say('unit', unit=e.unit, place=e.place, kind=kind)}, {say('hidden' if e.hidden else 'output')}"
    yield say("loss", name=e.loss_name, reduction=e.reduction, rows=e.batch, value=shown(e.loss))
    if e.first_bad:
        yield say("bad", cause=e.first_bad.told(say))
    if not e.adds_up and not e.first_bad:
        yield say("off", ulps=f"{e.worst_ulps:.3g}")
    full = rows_in_full(e)
    for r in full:
        yield ""
        yield from _row_lines(e, r, say, largest)
    if len(e.rows) > len(full):
        yield ""
        yield say("rows_left", count=len(e.rows) - len(full))
    if e.parameters:
        yield ""
        yield from _parameter_lines(e, say, largest)
    for name in e.outside:
        if name != "a":
            yield ""
            yield say("outside_parameter", name=name)


def rows_in_full(e: UnitResult) -> list[int]:
    """Return the rows that are shown in full: those with the largest gradients, in their order."""
    size = np.where(np.isfinite(e.dz), np.abs(e.dz), np.inf)
    return sorted(int(i) for i in np.argsort(-size, kind="stable")[:FEW])


def _row_lines(e: UnitResult, r: int, say: Words, largest: int) -> Iterator[str]:
    yield f"{say('row', row=e.rows[r])}"
    if e.forward is not None:
        yield "  " + say("forward" if family_of(e.forward.kernel[0]) == "linear" else "forward_other")
        yield from _sum_lines(e.forward.terms(r, largest), say, forward_label, say("sum_z"))
    elif "a" in e.outside:
        yield "  " + say("outside_forward")
    ending = say("activation", name=e.activation) if e.activation else say("output_a")
    yield f"    {ending} = {shown(float(e.a[r]))}"
    if e.incoming is None:
        yield "  " + say("outside")
        yield f"    dL/da = {shown(float(e.da[r]))}"
    else:
        yield "  " + say(_backward_head(e.incoming))
        yield from _sum_lines(e.incoming.terms(r, largest), say, back_label, say("sum_da"))
    if e.through is None:
        yield "  " + say("no_slope" if e.activation is None else "outside_slope", name=e.activation)
        if e.activation is not None:
            yield f"    dL/dz = {shown(float(e.dz[r]))}"
        return
    yield "  " + say("times_slope", name=e.activation)
    yield from _sum_lines(e.through.terms(r, largest), say, back_label, say("sum_dz"))


def _backward_head(incoming: Sums) -> str:
    if set(incoming.route) == {"loss"}:
        return "from_loss"
    if set(incoming.route) == {"own loss"}:
        return "from_own_loss"
    return "backward" if all(family_of(name) == "linear" for name in incoming.kernel) else "backward_other"


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


def _parameter_lines(e: UnitResult, say: Words, largest: int) -> Iterator[str]:
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


def _one_parameter(e: UnitResult, part: ParameterSums, i: int, say: Words) -> Iterator[str]:
    terms, update = part.data.terms(i, FEW), part.update
    bias = f" ({say('bias')})" if part.bias[i] else ""
    text = " + ".join(f"{shown(t.left, 6)} x {factor(t.right, 6)}" for t in terms)
    if terms.left_out:
        text += f" + {factor(terms.rest, 6)} [{say('rest', count=terms.left_out)}]"
    more = "".join(f" + {say('penalty', name=n)} {factor(float(v[i]))}" for n, v in part.penalties)
    yield f"  {part.label(i)}{bias}: {say('gradient')} = {text}{more} = {shown(float(part.gradient[i]))}"
    if len(part.uses) > 1:
        each = " + ".join(f"{factor(float(v[i]), 6)} ({say('use', place=p)})" for p, v in part.uses)
        yield f"    {say('shared')}: {each} = {shown(float(part.data.value[i]))}"
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
