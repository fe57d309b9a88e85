"""A short round of hostile command lines, and the lines that were found to be wrong once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.command_lines import Line, attack, kept, prepared, problem, run_here
from tests.attacks.hostile_files import make

LINES = 150
SEED = 20


def test_hostile_command_lines_end_as_usage_errors() -> None:
    outcome = attack(SEED, float("inf"), lines=LINES, processes=0.003)
    assert outcome.lines + outcome.processes == LINES
    assert not outcome.failures, str(outcome)


@pytest.mark.parametrize("line", kept(), ids=lambda line: ascii(" ".join(line.args))[:60])
def test_recorded_failures_stay_fixed(line: Line) -> None:
    with prepared():
        make(Path.cwd())
        assert problem(line, run_here(line)) is None
