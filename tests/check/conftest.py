"""How many mutants were caught, at the end of a run of the mutant tests."""

from __future__ import annotations

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that carry the property "mutant"; it travels with a report, so from parallel runs as well."""
    ran, caught = Counter[str](), Counter[str]()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            kind = dict(report.user_properties).get("mutant")
            if report.when == "call" and kind is not None:
                ran[kind] += 1
                caught[kind] += report.passed
    if ran:
        counts = ", ".join(f"{caught[kind]} of {ran[kind]} {kind}" for kind in ran)
        good = caught == ran
        terminalreporter.write_line(f"mutants caught and named: {counts}", green=good, red=not good)
