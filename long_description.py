"""Make of README.md what a package index shows: hatchling calls this when it builds a wheel or an sdist.

An index shows the text away from the repository, so that a link such as `docs/cuda.md` would lead nowhere. Each becomes an
address below the one that `[project.urls]` in pyproject.toml has as `Repository`. Without that the text stays as it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?P<image>!?)(?P<words>\[[^\]]*\])\((?P<target>[^)\s]+)\)")


class LongDescription(MetadataHookInterface):
    """Gives the project's metadata their `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme` to the text of README.md with absolute links."""
        root = Path(self.root)
        text = (root / "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute(text, repository, root) if repository else text,
        }


def absolute(text: str, repository: str, root: Path) -> str:
    """Return Markdown whose links to files lead to the repository's address, and images to the files themselves.

    Fenced code stays as it is. Links within the page and addresses stay too.
    """

    def linked(match: re.Match[str]) -> str:
        target = match["target"]
        if target.startswith("#") or re.match(r"[a-z]+:", target):
            return match[0]
        path = target.partition("#")[0]
        kind = "raw" if match["image"] else "tree" if (root / path).is_dir() else "blob"
        return f"{match['image']}{match['words']}({repository.rstrip('/')}/{kind}/HEAD/{target})"

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(linked, part) for part in parts)
