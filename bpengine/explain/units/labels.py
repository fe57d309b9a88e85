"""Names of terms: the origin of each term of a sum, by the family of its kernel."""

from __future__ import annotations

from bpengine.explain.terms.sums import Term
from bpengine.i18n.translate import Translate
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import Family


def family_of(kernel: str) -> Family:
    """Return the family of a kernel by name, "" for one of a user's own."""
    return KERNELS[kernel].family if kernel in KERNELS else ""


def forward_label(term: Term, translate: Translate) -> str:
    """Name a term of a unit's own sum."""
    family = family_of(term.kernel)
    if term.route == "bias":
        return translate("bias")
    if family == "sum":
        return translate("straight" if term.route == "direct" else "inner")
    if family.endswith("normalization"):
        return translate("normalized")
    return translate("input", unit=term.unit) if family == "linear" else translate("same_unit")


def back_label(term: Term, translate: Translate) -> str:
    """Name a term of a gradient: the unit that it comes back from, and how."""
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
