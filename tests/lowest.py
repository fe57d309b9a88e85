"""The oldest version of everything that pyproject.toml names, as requirements for pip: `python -m tests.lowest > FILE`.

What they need in turn is free: pip takes the newest that goes with them, but for those of BESIDE.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
BOUND = re.compile(r"(?P<name>[\w.-]+)(?P<extras>\[[\w,-]+\])?>=(?P<version>[\d.]+)(?P<marker> *;.*)?")
# which warns of the old names that matplotlib 3.9 calls; to the tests a warning is an error
BESIDE = ("pyparsing<3.3",)
OWN = re.compile(r"bpengine\[(?P<extras>[\w,-]+)\]")


def lowest(project: dict[str, Any], extra: str) -> Iterator[str]:
    """Yield "name==version" for what the project and one of its extras need, and the extras that it is made of.

    Raises ValueError for a requirement that is not a lower bound.
    """
    yield from map(_pinned, project["dependencies"])
    seen, wanted = set[str](), [extra]
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        for requirement in project["optional-dependencies"][name]:
            if own := OWN.fullmatch(requirement):
                wanted += own["extras"].split(",")
            else:
                yield _pinned(requirement)


def _pinned(requirement: str) -> str:
    match = BOUND.fullmatch(requirement)
    if match is None:
        raise ValueError(f"pyproject.toml requires each dependency with a lower bound, got {requirement!r}")
    return f"{match['name']}{match['extras'] or ''}=={match['version']}{match['marker'] or ''}"


if __name__ == "__main__":
    print("\n".join([*lowest(tomllib.loads(PROJECT.read_text())["project"], "test"), *BESIDE]), file=sys.stdout)
