"""The routes of docs/architecture.md go through files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_files_of_the_routes_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(bpengine/[\w/]+\.py)`", text))
    assert len(named) > 30
    assert not [name for name in named if not (ROOT / name).is_file()]
