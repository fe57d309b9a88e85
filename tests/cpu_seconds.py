"""The processor time of tests, with that of the processes that they start: `python -m pytest -p tests.cpu_seconds FOLDER`.

How long a test takes depends on what else the machine does; its processor time hardly does. A fixture's time counts for the
first test that asks for it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterable
from pathlib import PurePosixPath
from typing import Any

import pytest

MOST = 25  # lines of a table
_marks = [0.0]  # the processor time at the end of the last phase of a test


def used() -> float:
    """Return the seconds that this process, and those that it has waited for, have been on a processor."""
    return sum(os.times()[:4])


def pytest_runtest_logstart() -> None:
    """Begin with a test."""
    _marks[0] = used()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Write the time of each phase into its report, which xdist passes on."""
    report = yield
    report.cpu_seconds, _marks[0] = used() - _marks[0], used()
    return report


def tables(reports: Iterable[Any]) -> dict[str, Counter[str]]:
    """Return the seconds of every folder, file and test."""
    sums: dict[str, Counter[str]] = {"folder": Counter(), "file": Counter(), "test": Counter()}
    for report in reports:
        path = PurePosixPath(report.nodeid.partition("::")[0])
        for kind, name in (("folder", str(path.parent)), ("file", str(path)), ("test", report.nodeid)):
            sums[kind][name] += report.cpu_seconds
    return sums


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what took most."""
    kinds = ("passed", "failed", "skipped", "error", "")  # setups and teardowns have none
    reports = [report for kind in kinds for report in terminalreporter.getreports(kind)]
    for kind, seconds in tables(report for report in reports if hasattr(report, "cpu_seconds")).items():
        terminalreporter.section(f"processor time by {kind}, {sum(seconds.values()):.1f} s in all")
        for name, share in seconds.most_common(MOST):
            terminalreporter.write_line(f"{share:8.2f} s  {name}")
