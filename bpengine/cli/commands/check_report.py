"""Reports of `bpengine check` and `bpengine compare`, printed; both commands import it."""

from __future__ import annotations

from typing import Any

import typer

from bpengine.check.reports.gradient_report import Report
from bpengine.check.reports.printable import PrintableReport
from bpengine.check.reports.results import GIVEN, PERTURBED
from bpengine.cli.exit_codes import FAILED
from bpengine.cli.output import columns, key_value_table, print_json, show


def print_report(report: PrintableReport, *, as_json: bool) -> None:
    """Print a report as text or JSON; end with exit code 1 if something does not agree."""
    if as_json:
        print_json(report.to_dict())
    else:
        findings = ["", *report.findings()] if report.findings() else []
        show(report.verdict(), *findings, "", *_tables(report), key_value_table(report.notes()))
    if not report.passed:
        raise typer.Exit(FAILED)


def _tables(report: PrintableReport) -> list[Any]:
    """Return the table of a report; for gradients one table for each point, which fits a terminal."""
    if not isinstance(report, Report):
        return [columns(report.heads, report.rows()), ""]
    heads, parts = [head for head in report.heads if head != "point"], []
    for point in (GIVEN, PERTURBED):
        if rows := report.rows_at(point):
            title = [f"at the {point} point:"] if point == PERTURBED else []
            parts += [*title, columns(heads, rows), ""]
    return parts
