"""Where this copy of bpengine comes from: the command that installs an extra for it, and the address of its repository.

It need not be on a package index, and need not have an address.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from importlib.metadata import Distribution

PROJECT: Final = "bpengine"
PLAIN: Final = re.compile(r"[^\"$`!]*")  # characters that stand for themselves within double quotes in every shell


def install_command(extra: str, *packages: str, upgrade: bool = False) -> str:
    """Return the command that installs an extra of this copy of bpengine, with further packages beside it.

    For a copy that runs from a folder of sources the command names that folder; for a wheel its file or address, for a
    repository its address and commit, as pip recorded them; for a copy from an index only the name. If the file no longer
    exists, the command names the packages of the extra themselves.

    >>> install_command("sklearn").startswith("pip install ")
    True

    Source: PyPA, "Recording the direct URL origin of installed distributions" (PEP 610), 2020.
    """
    return " ".join(["pip install", *(["-U"] if upgrade else []), *_of_this_copy(extra), *packages])


def cure(extra: str, *, upgrade: bool = False) -> str:
    """Return a sentence that says how to install the missing package of an extra."""
    return f"Install it with: {install_command(extra, upgrade=upgrade)}"


def _of_this_copy(extra: str) -> list[str]:
    """Return pip's arguments for an extra of this copy."""
    if (folder := sources()) is not None:
        return ["-e", quoted(f"{folder}[{extra}]")]
    # not at the top: needed only where a package is missing, and slower to load than the kernels
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        installed = distribution(PROJECT)
    except PackageNotFoundError:
        return [quoted(f"{PROJECT}[{extra}]")]
    return arguments(installed, extra)


def repository() -> str | None:
    """Return the address of the repository, as `[project.urls]` in pyproject.toml has it; None where it has none.

    A copy that was installed has it in its metadata.
    """
    if (folder := sources()) is not None:
        import tomllib  # not at the top: slower to load than the kernels, and needed only here

        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return address_in(f"{label}, {url}" for label, url in project.get("urls", {}).items())
    from importlib.metadata import PackageNotFoundError, metadata  # not at the top: as above

    try:
        return address_in(metadata(PROJECT).get_all("Project-URL") or ())
    except PackageNotFoundError:
        return None


def address_in(urls: Iterable[str]) -> str | None:
    """Return the address of the repository among the metadata's lines "LABEL, ADDRESS".

    >>> address_in(["Documentation, https://example.org/docs", "Repository, https://example.org/ana/bpengine"])
    'https://example.org/ana/bpengine'
    """
    return next((url.partition(", ")[2] for url in urls if url.startswith("Repository, ")), None)


def sources() -> Path | None:
    """Return the folder of sources that this copy runs from; None for one that was installed elsewhere."""
    folder = Path(__file__).parents[1]
    description = folder / "pyproject.toml"
    try:
        return folder if f'name = "{PROJECT}"' in description.read_text(encoding="utf-8") else None
    except (OSError, UnicodeError):
        return None


def arguments(installed: Distribution, extra: str) -> list[str]:
    """Return pip's arguments for an extra of an installed distribution, by its recorded origin."""
    from urllib.parse import urlsplit  # not at the top: as above
    from urllib.request import url2pathname

    origin: dict[str, Any] = json.loads(installed.read_text("direct_url.json") or "{}")
    url = origin.get("url")
    if url is None:
        return [quoted(f"{PROJECT}[{extra}]")]
    path = Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None
    if path is not None and not path.exists():
        return [quoted(requirement) for requirement in requirements(installed, extra)]
    if path is not None and path.is_dir() and "vcs_info" not in origin:
        return [*(["-e"] if origin.get("dir_info", {}).get("editable") else []), quoted(f"{path}[{extra}]")]
    if version := origin.get("vcs_info"):
        url = f"{version['vcs']}+{url}@{version['commit_id']}"
    if folder := origin.get("subdirectory"):
        url = f"{url}#subdirectory={folder}"
    return [quoted(f"{PROJECT}[{extra}] @ {url}")]


def requirements(installed: Distribution, extra: str) -> list[str]:
    """Return the packages of an extra with their versions, including those of the extras that it names."""
    chosen: list[str] = []
    for line in installed.requires or ():
        package, _, condition = (part.strip() for part in line.partition(";"))
        if not re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", condition):
            continue
        if own := re.fullmatch(rf"{PROJECT}\[([\w,\s-]+)\]", package):
            chosen += [r for name in own[1].split(",") for r in requirements(installed, name.strip())]
        else:
            chosen.append(package)
    return list(dict.fromkeys(chosen))


def quoted(text: str) -> str:
    """Return a text as one word of a command line."""
    return f'"{text}"' if PLAIN.fullmatch(text) else shlex.quote(text)
