"""The report: what was checked, by whom, and what was found; as text, as numbers, as an exception."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from bpengine.check.blame import Guilty
from bpengine.check.judge import Verdict
from bpengine.check.kinks import Counts
from bpengine.check.oracles import OracleUse
from bpengine.errors import BpError

HEADS = ("array", "oracle", "compared", "largest error", "ulp", "tolerance", "order", "passed")


class GradientError(BpError, AssertionError):
    """A hand-written gradient does not agree with its oracles; `report` holds the whole story."""

    def __init__(self, report: Report) -> None:
        super().__init__("\n".join([f"the gradients of {report.subject} are wrong.", *report.findings()]))
        self.report = report


@dataclass(frozen=True)
class Report:
    """What `check_gradients` found: a verdict per array and oracle, the kinks, the oracles, and the guilty kernel."""

    subject: str
    precision: str
    loss: float
    verdicts: tuple[Verdict, ...]
    kinks: Counts
    oracles: tuple[OracleUse, ...]
    guilty: Guilty | None = None

    @property
    def passed(self) -> bool:
        """True when nothing disagrees and at least one number was compared."""
        return all(v.passed for v in self.verdicts) and any(v.compared for v in self.verdicts)

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """The verdicts against the gradient."""
        return tuple(v for v in self.verdicts if not v.passed)

    def findings(self) -> list[str]:
        """Return a sentence for every failure: the worst element by name, and the guilty kernel first."""
        lines = [f"guilty: {self.guilty}"] if self.guilty else []
        lines += [v.worst.text(v.oracle) if v.worst else f"{v.array}: {v.oracle} disagrees" for v in self.failures]
        return lines if lines or self.passed else ["nothing could be compared: see the column 'compared'."]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, one row per array and oracle, under `HEADS`."""
        return [_cells(v) for v in self.verdicts]

    def notes(self) -> list[tuple[str, str]]:
        """Return what the table does not say, by name: precision, kinks, every oracle."""
        k = self.kinks
        left = f"; {k.left_out} comparisons left out because a step would cross one" if k.left_out else ""
        kinks = f"{k.exact} elements exactly on a kink (judged by the kernel's own convention), {k.near} near one{left}"
        used = [(o.name, f"{o.precision}; {o.note}" if o.used else f"not used: {o.note}") for o in self.oracles]
        return [("precision", self.precision), ("kinks", kinks), *used]

    def table(self) -> str:
        """Return the table as plain text."""
        rows = [HEADS, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def __str__(self) -> str:
        head = f"{'passed' if self.passed else 'FAILED'}: gradients of {self.subject}, value {self.loss:.6g}"
        notes = [f"{name}: {text}" for name, text in self.notes()]
        return "\n".join([head, "", *self.findings(), self.table(), "", *notes])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; what is not finite is None."""
        told = {**asdict(self), "passed": self.passed, "findings": self.findings()}
        for verdict, row in zip(self.verdicts, told["verdicts"], strict=True):
            row["worst"] = {**row["worst"], "ratio": verdict.worst.ratio} if verdict.worst else None
        cleaned: dict[str, Any] = finite(told)
        return cleaned

    def raise_if_failed(self) -> None:
        """Raise GradientError when the check failed."""
        if not self.passed:
            raise GradientError(self)


def finite(value: Any) -> Any:
    """Return a tree of plain values in which a number that is not finite is None."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value


def _cells(v: Verdict) -> tuple[str, ...]:
    aside = "".join([f", {v.left_out} at kinks"] * bool(v.left_out) + [f", {v.ill} ill conditioned"] * bool(v.ill))
    if not v.compared:
        return v.array, v.oracle, f"0{aside}", "-", "-", "-", "-", "-"
    order = "-" if v.order is None else f"{v.order:.2f}"
    numbers = (f"{v.error:.1e}", f"{v.ulp:.3g}", f"{v.tolerance:.1e}", order)
    return v.array, v.oracle, f"{v.compared}{aside}", *numbers, "yes" if v.passed else "NO"
