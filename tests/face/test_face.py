"""What users see is what was last agreed on; a change that is wanted is written down with `python -m tests.face`."""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

import pytest

from tests.face.collect import FACES


@pytest.mark.parametrize("name", list(FACES))
def test_public_interface_equals_the_golden_files(name: str) -> None:
    agreed = Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8").splitlines()
    changed = list(unified_diff(agreed, FACES[name](), "agreed", "today", n=0, lineterm=""))
    assert not changed, "\n".join(["write it down with `python -m tests.face` if it is wanted:", *changed])
