"""A short round of hostile command lines, and the lines that were found to be wrong once."""

from __future__ import annotations

from tests.attacks.command_lines import attack

SECONDS = 10.0
SEED = 20


def test_hostile_command_lines_are_mistakes_and_nothing_else() -> None:
    found = attack(SEED, SECONDS, processes=0.003)
    assert not found.failures, str(found)
    assert found.lines > 20, str(found)
