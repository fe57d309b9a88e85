"""The processor time of tests, which CONTRIBUTING asks for, is counted where it was spent."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests import cpu_seconds

BUSY = "import time\nwhile time.process_time() < 0.2: pass"


def test_time_of_processes_that_a_test_starts_is_its_own() -> None:
    cpu_seconds.pytest_runtest_logstart()
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    making = cpu_seconds.pytest_runtest_makereport()
    next(making)
    report = SimpleNamespace(cpu_seconds=0.0)
    with pytest.raises(StopIteration) as end:
        making.send(report)
    assert end.value.value is report
    assert report.cpu_seconds > 0.15
    assert cpu_seconds.used() - cpu_seconds._marks[0] < 0.15  # the next phase begins anew


def test_folders_files_and_tests_are_summed() -> None:
    spent = [("tests/a/test_x.py::one[a/b::c]", 1.0), ("tests/a/test_x.py::two", 2.0), ("tests/a/test_y.py::one", 4.0)]
    phases = [SimpleNamespace(nodeid=name, cpu_seconds=part) for name, s in spent for part in (s / 4, 3 * s / 4)]
    tables = cpu_seconds.tables(phases)
    assert tables["folder"] == {"tests/a": 7.0}
    assert tables["file"] == {"tests/a/test_x.py": 3.0, "tests/a/test_y.py": 4.0}
    assert tables["test"] == dict(spent)
