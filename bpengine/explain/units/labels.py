"""Names of terms: where a number in a sum comes from, in words."""

from __future__ import annotations

from bpengine.explain.terms.sums import Term
from bpengine.i18n.translate import Words


def forward_label(term: Term, say: Words) -> str:
    """Name a term of a unit's own sum."""
    if term.route == "bias":
        return say("bias")
    if term.kernel == "add":
        return say("straight" if term.route == "direct" else "inner")
    if term.kernel.startswith(("batch_norm", "layer_norm")):
        return say("normalized")
    return say("input", unit=term.unit) if term.kernel.startswith("dense") else say("same_unit")


def back_label(term: Term, say: Words) -> str:
    """Name a term of a gradient: the unit that it comes back from, and how."""
    if term.route == "loss":
        return say("loss_label", row=term.row, unit=term.unit)
    if term.route == "own loss":
        return say("own_loss_label", name=term.kernel, row=term.row, unit=term.unit)
    if term.route == "outside":
        return say("outside_label", place=term.place)
    where = say("next_unit", unit=term.unit, place=term.place)
    if term.kernel.startswith("dense"):
        return where
    if term.kernel == "dropout":
        return f"{where}, {say('kept')}"
    if term.kernel == "add":
        return f"{where}, {say('inner_add')}"
    if term.kernel.startswith("batch_norm"):
        where = say("with_row", label=where, row=term.row)
    if term.kernel in ("batch_norm", "layer_norm", "softmax") or term.route == "whole":
        return f"{where}, {say(term.route)}"
    return say("activation_slope", name=term.kernel, unit=term.unit, place=term.place)
