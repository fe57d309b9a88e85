"""The gradient of a unit written below a network: gradient x weight + gradient x weight + ... and what becomes of it."""

from __future__ import annotations

from bpengine.explain.figures import canvas
from bpengine.explain.terms.sums import Terms
from bpengine.explain.trace.trace import Trace
from bpengine.explain.units.explain import explain_trace
from bpengine.explain.units.labels import family_of
from bpengine.i18n.translate import Translate

TERMS = 4  # of a sum, before the rest is one number
TIMES = "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}"  # a line ends between terms


def sum_lines(traced: Trace, place: str, unit: int, row: int, translate: Translate) -> list[str]:
    """Return the lines: what is added up, dL/da as the sum of its terms, dL/dz as dL/da times the slope."""
    told = explain_trace(traced, place, unit, row)
    if told.incoming is None:
        lines = [translate("outside"), f"dL/da = {canvas.number(float(told.da[0]))}"]
    else:
        dense = all(family_of(kernel) == "linear" for kernel in told.incoming.kernel)
        lines = [translate("sum_of_unit" if dense else "sum_other", unit=unit, place=place)]
        lines.append(f"dL/da = {_written(told.incoming.terms(0, TERMS), translate)}")
    if told.through is not None:
        lines.append(f"dL/dz = dL/da{TIMES}f'(z) = {_written(told.through.terms(0, TERMS), translate)}")
    return lines


def _written(terms: Terms, translate: Translate) -> str:
    parts = [f"{_bracketed(term.left)}{TIMES}{_bracketed(term.right)}" for term in terms]
    if terms.left_out:
        parts.append(f"{_bracketed(terms.rest)} ({translate('rest', count=terms.left_out)})")
    return f"{' + '.join(parts)} = {canvas.number(terms.value)}"


def _bracketed(value: float) -> str:
    text = canvas.number(value)
    return f"({text})" if value < 0 else text
