"""The README's first example prints what the README says it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_first_example_of_the_readme_prints_what_the_readme_shows(jax: object) -> None:
    text = README.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    shown = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert code is not None
    assert shown is not None
    run = subprocess.run([sys.executable, "-c", code[1]], capture_output=True, text=True, check=True)
    assert run.stdout == shown[1]


def test_every_link_into_the_project_leads_somewhere() -> None:
    for page in (README, README.parent / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target
