"""Write the address of the repository into CITATION.cff: `python -m docs.site.citation`; the Makefile does it.

The address is in `[project.urls]` of pyproject.toml; hosts read CITATION.cff as it stands in the repository.
"""

from __future__ import annotations

import re

from bpengine.extras import repository
from docs.site.pages import ROOT

FILE = ROOT / "CITATION.cff"


def cited(text: str, address: str | None) -> str:
    r"""Return the text of a citation file with an address of the repository, or with none.

    >>> cited("type: software\nlicense: MIT\n", "https://example.org/bpengine")
    'type: software\nrepository-code: "https://example.org/bpengine"\nlicense: MIT\n'
    """
    without = re.sub(r"^repository-code:.*\n", "", text, flags=re.MULTILINE)
    line = f'type: software\nrepository-code: "{address}"\n' if address else "type: software\n"
    return without.replace("type: software\n", line)


def main() -> None:
    """Write the file where it says something else."""
    text = FILE.read_text(encoding="utf-8")
    if (changed := cited(text, repository())) != text:
        FILE.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    main()
