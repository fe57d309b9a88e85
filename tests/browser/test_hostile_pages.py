"""Pages and pictures with hostile names in a browser: nothing of them runs, and all of them is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.attacks.pages import HOSTILE, PLAIN, drawn, kept, seen_in

CASES = [*kept(), *(drawn(6, number) for number in range(3)), {part: HOSTILE[k] for k, part in enumerate(PLAIN)}]


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("number", range(len(CASES)))
def test_hostile_names_are_text(number: int, browser: Any, tmp_path: Path) -> None:
    assert seen_in(browser, CASES[number], tmp_path) is None


def test_check_detects_a_name_that_runs_as_script(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpengine.explain.graphs.svg.escape", lambda text: text)
    trouble = seen_in(browser, {**PLAIN, "title": "<script>window.hacked=1</script>", "place": "plain"}, tmp_path)
    assert trouble is not None
    assert "evil.svg" in trouble
