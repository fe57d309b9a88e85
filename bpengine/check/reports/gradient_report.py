"""The report of `check_gradients`: what was checked, by which oracles, and the results; as text, as JSON, as an exception."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from bpengine.check.reports.printable import PrintableReport
from bpengine.check.reports.results import (
    GIVEN,
    NOT_ASKED_FOR,
    PERTURBED,
    ArrayResult,
    DerivativeResult,
    FaultyCall,
    KinkCounts,
    OracleUse,
    PerturbedPoint,
)
from bpengine.errors import BpError
from bpengine.i18n.language import localized
from bpengine.output.json_values import json_object

LISTED = 8  # special values in the text; the JSON has all of them
BLIND = "a missing term or factor cannot be seen there"
SHORT = {"per_sample_gradients": "per row", "input_gradients": "inputs"}  # in a table of 80 columns


class GradientError(BpError, AssertionError):
    """A hand-written gradient does not agree with its oracles; `report` is the whole report.

    >>> def backward(xp, residual, dy):
    ...     return 2.0 * dy
    >>> def forward(xp, x):
    ...     return x * 1.0, x
    >>> try:
    ...     bp.check_gradients((forward, backward), [[0.5]]).raise_if_failed()
    ... except bp.GradientError as error:
    ...     print(type(error).__name__)
    GradientError
    """

    def __init__(self, report: Report) -> None:
        super().__init__("\n".join([f"the gradients of {report.subject} are wrong.", *report.findings()]))
        self.report = report


@dataclass(frozen=True, kw_only=True)
class Report(PrintableReport):
    """What `check_gradients` returns: a result per point, array and oracle, the kinks, the oracles, and the faulty kernel.

    loss, kinks: at the given point; perturbed: the same and more for the perturbed point; special: sentences about the
    values at the given point that hide a mistake; guilty: the first kernel call or layer that is wrong.

    >>> report = bp.check_gradients("sigmoid", [[0.5]])
    >>> report.passed
    True
    """

    heads: ClassVar = ("array", "oracle", "point", "compared", "error", "ulp", "tolerance", "order", "ok")
    subject: str
    precision: str
    loss: float
    verdicts: tuple[ArrayResult, ...]
    kinks: KinkCounts
    oracles: tuple[OracleUse, ...]
    guilty: FaultyCall | None = None
    derivatives: tuple[DerivativeResult, ...] = ()  # of a network: per-sample gradients, Jacobian, and so on
    special: tuple[str, ...] = ()
    perturbed: PerturbedPoint = NOT_ASKED_FOR
    derivatives_note: str = ""  # how they were compared, or why not

    @property
    def passed(self) -> bool:
        """True when nothing disagrees and at least one number was compared."""
        agreed = all(v.passed for v in self.verdicts) and all(d.passed for d in self.derivatives)
        return agreed and any(v.compared for v in self.verdicts)

    @property
    def failures(self) -> tuple[ArrayResult, ...]:
        """The results that say that a gradient is wrong."""
        return tuple(v for v in self.verdicts if not v.passed)

    def verdict(self) -> str:
        """Return whether it passed, what was checked and its value, in a line, in the language that is set."""
        outcome = "passed" if self.passed else "FAILED"
        if self.failures and all(v.point == PERTURBED for v in self.failures):
            outcome = "FAILED at the perturbed point only"
        return localized(f"{outcome}: gradients of {self.subject}, value {self.loss:.6g}")

    def findings(self) -> list[str]:
        """Return a sentence for every failure: the faulty kernel first, then the worst element of each array by name."""
        lines = [f"faulty: {self.guilty}"] if self.guilty else []
        lines += [_sentence(v) for v in self.failures]
        lines += [d.text() for d in self.derivatives if not d.passed]
        return lines if lines or self.passed else ["nothing could be compared: see the column 'compared'."]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, one row per point, array and oracle, then the derivatives, under `heads`."""
        return [*(_cells(v) for v in self.verdicts), *(_derivative_cells(d) for d in self.derivatives)]

    def rows_at(self, point: str) -> list[tuple[str, ...]]:
        """Return the rows of one point, "given" or "perturbed", without the column that says so."""
        column = self.heads.index("point")
        return [row[:column] + row[column + 1 :] for row in self.rows() if row[column] == point]

    def notes(self) -> list[tuple[str, str]]:
        """Return the notes below the table, by name: precision, kinks, special values, the perturbed point, every oracle."""
        used = [(o.name, f"{o.precision}; {o.note}" if o.used else f"not used: {o.note}") for o in self.oracles]
        notes = [("precision", self.precision), ("kinks", str(self.kinks))]
        if self.special:
            more = [f"and {len(self.special) - LISTED} more"] if len(self.special) > LISTED else []
            notes.append(("special values", f"{'; '.join([*self.special[:LISTED], *more])}: {BLIND}"))
        further = [("derivatives", self.derivatives_note)] if self.derivatives_note else []
        return [*notes, ("perturbed point", str(self.perturbed)), *used, *further]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; what is not finite is None.

        subject, precision, loss, passed; findings: the sentences of `findings()`; guilty: {place, function, argument, words,
            point} or None; special: the sentences about special values at the point given.
        verdicts: one for each array and oracle, the fields of `ArrayResult` with worst = {element, hand, reference, cause,
            ratio} or None.
        derivatives: one for each of per_sample_gradients, jacobian, input_gradients, hvp: the fields of
            `DerivativeResult`; derivatives_note: how they were compared, or why not.
        kinks: the fields of `KinkCounts`; oracles: the fields of `OracleUse` for each; perturbed: {judged, value, kinks,
            note}.
        """
        values = {**asdict(self), "passed": self.passed, "findings": self.findings()}
        for result, row in zip(self.verdicts, values["verdicts"], strict=True):
            row["worst"] = {**row["worst"], "ratio": result.worst.ratio} if result.worst else None
        return json_object(values)

    def raise_if_failed(self) -> None:
        """Raise GradientError when the check failed."""
        if not self.passed:
            raise GradientError(self)


def _sentence(v: ArrayResult) -> str:
    text = v.worst.text(v.oracle) if v.worst else f"{v.array}: {v.oracle} disagrees"
    return text if v.point == GIVEN else f"at the {v.point} point, {text}"


def _cells(v: ArrayResult) -> tuple[str, ...]:
    kinks = v.left_out - v.aside
    uncompared = ((kinks, f"{kinks} at kinks"), (v.aside, f"{v.aside} nearby"), (v.ill, f"{v.ill} ill conditioned"))
    counted = ", ".join([str(v.compared), *(text for number, text in uncompared if number)])
    if not v.compared:
        return v.array, v.oracle, v.point, counted, "-", "-", "-", "-", "-"
    order = "-" if v.order is None else f"{v.order:.2f}"
    ulp = f"{v.ulp:.2g}" if v.ulp < 10 else f"{v.ulp:.0f}" if v.ulp < 1e5 else f"{v.ulp:.0e}"
    numbers = (f"{v.error:.1e}", ulp, f"{v.tolerance:.1e}", order)
    return v.array, v.oracle, v.point, counted, *numbers, "yes" if v.passed else "NO"


def _derivative_cells(d: DerivativeResult) -> tuple[str, ...]:
    numbers = (f"{d.error:.1e}", "-", f"{d.tolerance:.1e}", "-")
    name, reference = SHORT.get(d.name, d.name), d.reference.replace("jax.", "")
    return name, reference, GIVEN, str(d.compared), *numbers, "yes" if d.passed else "NO"
