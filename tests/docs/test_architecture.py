"""The routes of docs/architecture.md go through files that exist, and so do the places that the glossary names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import shape

ROOT = Path(__file__).parents[2]


def test_files_of_the_routes_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+/[\w/]+\.py)`", text))
    assert len(named) > 50
    assert not [name for name in named if not (ROOT / name).is_file()]


# Files that a route names for what the measured call does not do.
ELSEWHERE = {
    "fit": {"bpengine/training/updates/sharding.py"},
    "explain": set[str](),
    "check": {"bpengine/check/localize.py"},
    "train from a file": set[str](),
}
HEADINGS = {
    "fit": "A fit", "explain": "An explanation", "check": "A check", "train from a file": "Training from a file",
}  # fmt: skip


def _steps(heading: str) -> list[list[str]]:
    """Return the files that each step of the list below a heading names."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    below = text.split(f"**{heading}**", 1)[1].split("\n**", 1)[0]
    return [re.findall(r"`([\w/]+/[\w/]+\.py)`", step) for step in re.split(r"\n\d+\. ", below)[1:]]


@pytest.fixture(scope="module")
def routes() -> dict[str, shape.Route]:
    return dict(shape.routes())


def test_routes_go_through_the_files_that_they_name(routes: dict[str, shape.Route]) -> None:
    for name, way in routes.items():
        listed = {file for step in _steps(HEADINGS[name]) for file in step}
        assert len(listed) > 10
        assert listed - way.opened == ELSEWHERE[name], name


def _leading(name: str) -> list[str]:
    """Return the first file of each step of a route."""
    return [step[0] for step in _steps(HEADINGS[name]) if step[0] not in ELSEWHERE[name]]


@pytest.mark.parametrize("name", ["explain", "check", "train from a file"])
def test_the_steps_of_a_route_are_in_the_order_of_the_first_calls(routes: dict[str, shape.Route], name: str) -> None:
    calls = routes[name].calls
    assert _leading(name) == sorted(_leading(name), key=calls.index)


def test_the_steps_of_a_fit_are_in_an_order_of_the_calls(routes: dict[str, shape.Route]) -> None:
    """Its first calls are checks and preparations, in files whose later calls are the steps."""
    calls = iter(routes["fit"].calls)
    assert [file for file in _leading("fit") if file not in calls] == []


def test_places_of_the_glossary_exist() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    places = re.findall(r"\| `([\w/.]+)` \|$", text, re.MULTILINE)
    assert len(places) > 30
    folders = [ROOT, ROOT / "bpengine", ROOT / "backends", ROOT / "backends" / "bpengine_numpy"]
    assert not [place for place in places if not any((folder / place).exists() for folder in folders)]
