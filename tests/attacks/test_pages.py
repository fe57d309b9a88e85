"""A short round of hostile names in pages, pictures and graphs, and the names that were found to be wrong once."""

from __future__ import annotations

import pytest

from bpengine.explain.graphs import dot_mermaid
from tests.attacks.pages import PLAIN, Names, drawn, kept, problem, smaller

ROUNDS = 12


def test_page_shows_hostile_names_as_text() -> None:
    wrong = {number: trouble for number in range(ROUNDS) if (trouble := problem(drawn(4, number)))}
    assert not wrong, str(wrong)


@pytest.mark.parametrize(
    "names", kept(), ids=lambda names: ascii("".join(n for p, n in names.items() if n != PLAIN[p]))[:40]
)
def test_recorded_failures_stay_fixed(names: Names) -> None:
    assert problem(names) is None


def test_attack_reports_a_name_that_is_not_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dot_mermaid, "MERMAID", {})
    trouble = problem({**PLAIN, "title": "plain", "layer": 'evil"]'})
    assert trouble is not None
    assert "no line of Mermaid" in trouble


def test_failing_case_is_shrunk() -> None:
    names = {**PLAIN, "title": "long before <b> and after", "class": "hostile"}
    small = smaller(names, lambda tried: "wrong" if "<" in tried["title"] else None)
    assert small == {**PLAIN, "title": "<"}
