"""The routes of docs/architecture.md go through files that exist, and so do the places that the glossary names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_files_of_the_routes_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+/[\w/]+\.py)`", text))
    assert len(named) > 50
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_places_of_the_glossary_exist() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    places = re.findall(r"\| `([\w/.]+)` \|$", text, re.MULTILINE)
    assert len(places) > 30
    folders = [ROOT, ROOT / "bpengine", ROOT / "backends", ROOT / "backends" / "bpengine_numpy"]
    assert not [place for place in places if not any((folder / place).exists() for folder in folders)]
