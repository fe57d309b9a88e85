"""What an index shows: README.md, with links that lead into the repository from anywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from long_description import LongDescription, absolute

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://example.org/ana/bpengine"


@pytest.mark.parametrize(
    ("markdown", "becomes"),
    [
        ("[g](docs/cuda.md)", f"[g]({REPOSITORY}/blob/HEAD/docs/cuda.md)"),
        ("[g](docs/cuda.md#plan)", f"[g]({REPOSITORY}/blob/HEAD/docs/cuda.md#plan)"),
        ("[`k`](bpengine/kernels)", f"[`k`]({REPOSITORY}/tree/HEAD/bpengine/kernels)"),
        ("![p](docs/scaling.svg)", f"![p]({REPOSITORY}/raw/HEAD/docs/scaling.svg)"),
        ("[a](https://numpy.org) [b](#speed)", "[a](https://numpy.org) [b](#speed)"),
        ("```python\nf[x](y)\n```\n", "```python\nf[x](y)\n```\n"),
    ],
)
def test_links_become_absolute(markdown: str, becomes: str) -> None:
    for address in (REPOSITORY, f"{REPOSITORY}/"):
        assert absolute(markdown, address, ROOT) == becomes


def description(urls: dict[str, str]) -> str:
    metadata = {"urls": urls}
    LongDescription(str(ROOT), {}).update(metadata)
    assert metadata["readme"]["content-type"] == "text/markdown"
    return metadata["readme"]["text"]


def test_with_an_address_no_link_of_the_readme_stays_relative() -> None:
    text = description({"Repository": REPOSITORY})
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    assert len(targets) > 20
    assert [target for target in targets if not re.match("https://|#", target)] == []
    for target in targets:
        if target.startswith(REPOSITORY):
            assert (ROOT / target.split("/HEAD/")[1].partition("#")[0]).exists(), target


def test_without_an_address_it_is_the_readme() -> None:
    assert description({}) == (ROOT / "README.md").read_text(encoding="utf-8")
