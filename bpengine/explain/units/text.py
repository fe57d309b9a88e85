"""The text of an explanation, line by line; each sum shows its largest terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from bpengine.explain.terms.sums import Sums, Term, Terms
from bpengine.explain.units.unit_result import ParameterSums, UnitResult
from bpengine.i18n.translate import Translate, format_factor, format_number
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import Family

FEW = 4  # rows of a batch that are shown in full, and terms of a sum over it


def explanation_lines(e: UnitResult, translate: Translate, largest: int) -> Iterator[str]:
    """Yield the lines of an explanation; each sum shows its `largest` terms."""
    kind = ", ".join([e.kind, *([e.activation] if e.activation else [])])
    yield f"{translate('unit', unit=e.unit, place=e.place, kind=kind)}, {translate('hidden' if e.hidden else 'output')}"
    yield translate("loss", name=e.loss_name, reduction=e.reduction, count=e.batch, value=format_number(e.loss))
    if e.first_bad:
        yield translate("bad", cause=e.first_bad.translated(translate))
    if not e.adds_up and not e.first_bad:
        yield translate("off", ulps=f"{e.worst_ulps:.3g}")
    full = rows_in_full(e)
    for r in full:
        yield ""
        yield from _row_lines(e, r, translate, largest)
    if len(e.rows) > len(full):
        yield ""
        yield translate("rows_left", count=len(e.rows) - len(full))
    if e.parameters:
        yield ""
        yield from _parameter_lines(e, translate, largest)
    for name in e.outside:
        if name != "a":
            yield ""
            yield translate("outside_parameter", name=name)


def rows_in_full(e: UnitResult) -> list[int]:
    """Return the rows that are shown in full: those with the largest gradients, in their order."""
    size = np.where(np.isfinite(e.dz), np.abs(e.dz), np.inf)
    return sorted(int(i) for i in np.argsort(-size, kind="stable")[:FEW])


def _row_lines(e: UnitResult, r: int, translate: Translate, largest: int) -> Iterator[str]:
    yield f"{translate('row', row=e.rows[r])}"
    if e.forward is not None:
        yield "  " + translate("forward" if family_of(e.forward.kernel[0]) == "linear" else "forward_other")
        yield from _sum_lines(
            e.forward.terms(r, largest), translate, partial(forward_label, names=e.input_names), translate("sum_z")
        )
    elif "a" in e.outside:
        yield "  " + translate("outside_forward")
    ending = translate("activation", name=e.activation) if e.activation else translate("output_a")
    yield f"    {ending} = {format_number(float(e.a[r]))}"
    if e.incoming is None:
        yield "  " + translate("outside")
        yield f"    dL/da = {format_number(float(e.da[r]))}"
    else:
        yield "  " + translate(_backward_head(e.incoming))
        yield from _sum_lines(e.incoming.terms(r, largest), translate, back_label, translate("sum_da"))
    if e.through is None:
        yield "  " + translate("no_slope" if e.activation is None else "outside_slope", name=e.activation)
        if e.activation is not None:
            yield f"    dL/dz = {format_number(float(e.dz[r]))}"
        return
    yield "  " + translate("times_slope", name=e.activation)
    yield from _sum_lines(e.through.terms(r, largest), translate, back_label, translate("sum_dz"))


def _backward_head(incoming: Sums) -> str:
    if set(incoming.route) == {"loss"}:
        return "from_loss"
    if set(incoming.route) == {"own loss"}:
        return "from_own_loss"
    return "backward" if all(family_of(name) == "linear" for name in incoming.kernel) else "backward_other"


def _sum_lines(
    terms: Terms, translate: Translate, label: Callable[[Term, Translate], str], total: str
) -> Iterator[str]:
    """Yield a line per term, the rest, the rounding where it is visible, and the total."""
    named = [
        (
            label(term, translate),
            f"{format_number(term.left)} x {format_factor(term.right)} = {format_number(term.product)}",
        )
        for term in terms
    ]
    if terms.left_out:
        named.append((translate("rest", count=terms.left_out), format_number(terms.rest)))
    if terms.rounding and abs(terms.rounding) > 1e-10 * abs(terms.value):
        named.append((translate("rounding"), format_number(terms.rounding, 2)))
    width = max(len(name) for name, _ in [*named, (total, "")])
    for name, text in [*named, (total, format_number(terms.value))]:
        yield f"    {name.ljust(width)}  {text}"


def _parameter_lines(e: UnitResult, translate: Translate, largest: int) -> Iterator[str]:
    yield translate("parameters")
    if e.reduction != "sum":
        yield translate("averaged")
    update = e.parameters[0].update
    for part in e.parameters:
        size = np.where(np.isfinite(part.gradient), np.abs(part.gradient), np.inf)
        kept = sorted(int(i) for i in np.argsort(-size, kind="stable")[:largest])
        for i in kept:
            yield from _one_parameter(e, part, i, translate)
        if len(kept) < len(part.gradient):
            yield f"  {translate('weights_left', count=len(part.gradient) - len(kept))}"
    if not update.formula:
        yield translate("outside_rule", rule=update.rule)
    elif not update.plain:
        yield translate("rule_does", formula="; ".join(f"{name} = {text}" for name, text in update.formula.items()))


def _one_parameter(e: UnitResult, part: ParameterSums, i: int, translate: Translate) -> Iterator[str]:
    terms, update = part.data.terms(i, FEW), part.update
    leads_from = e.input_names[part.source(i)] if e.input_names and len(part.indices) == len(e.input_names) else ""
    bias = f" ({translate('bias')})" if part.bias[i] else f" ({leads_from})" if leads_from else ""
    text = " + ".join(f"{format_number(t.left, 6)} x {format_factor(t.right, 6)}" for t in terms)
    if terms.left_out:
        text += f" + {format_factor(terms.rest, 6)} [{translate('rest', count=terms.left_out)}]"
    more = "".join(f" + {translate('penalty', name=n)} {format_factor(float(v[i]))}" for n, v in part.penalties)
    yield f"  {part.label(i)}{bias}: {translate('gradient')} = {text}{more} = {format_number(float(part.gradient[i]))}"
    if len(part.uses) > 1:
        each = " + ".join(f"{format_factor(float(v[i]), 6)} ({translate('use', place=p)})" for p, v in part.uses)
        yield f"    {translate('shared')}: {each} = {format_number(float(part.data.value[i]))}"
    old, new, step = (float(a[i]) for a in (update.old, update.new, update.step_size))
    rate, slope = format_number(update.learning_rate, 6), format_number(float(update.slope[i]))
    if update.plain:
        yield f"    {translate('step_size', slope=slope, rate=rate, step=format_number(step))}"
    else:
        slots = ", ".join(
            f"{n} {format_number(float(a[i]), 6)} -> {format_number(float(b[i]), 6)}"
            for n, (a, b) in update.slots.items()
        )
        yield f"    {translate('step', rule=update.rule, rate=rate)}{': ' if slots else ''}{slots}"
    yield f"    {translate('new_value', old=format_number(old), step=format_factor(step), new=format_number(new))}"


def family_of(kernel: str) -> Family:
    """Return the family of a kernel by name, "" for a custom kernel."""
    return KERNELS[kernel].family if kernel in KERNELS else ""


def forward_label(term: Term, translate: Translate, names: Sequence[str] = ()) -> str:
    """Name a term of a unit's weighted sum; names: those of the inputs, where they have any."""
    family = family_of(term.kernel)
    if term.route == "bias":
        return translate("bias")
    if family == "sum":
        return translate("straight" if term.route == "direct" else "inner")
    if family.endswith("normalization"):
        return translate("normalized")
    if family != "linear":
        return translate("same_unit")
    return names[term.unit] if names else translate("input", unit=term.unit)


def back_label(term: Term, translate: Translate) -> str:
    """Name a term of a gradient: the unit that it comes from, and the route."""
    if term.route == "loss":
        return translate("loss_label", row=term.row, unit=term.unit)
    if term.route == "own loss":
        return translate("own_loss_label", name=term.kernel, row=term.row, unit=term.unit)
    if term.route == "outside":
        return translate("outside_label", place=term.place)
    family, where = family_of(term.kernel), translate("next_unit", unit=term.unit, place=term.place)
    if family == "linear":
        return where
    if family == "mask":
        return f"{where}, {translate('kept')}"
    if family == "sum":
        return f"{where}, {translate('inner_add')}"
    if family == "batch normalization":
        where = translate("with_row", label=where, row=term.row)
    if term.route == "whole" or (term.kernel in KERNELS and KERNELS[term.kernel].local_derivatives):
        return f"{where}, {translate(term.route)}"
    return translate("activation_slope", name=term.kernel, unit=term.unit, place=term.place)
