"""The command that installs an extra fits where this copy of bpengine came from."""

from __future__ import annotations

import json
from importlib import metadata
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from typing import Any

import pytest

from bpengine import extras

NAME = "bpengine-0.1.0-py3-none-any.whl"
NEEDS = """\
Metadata-Version: 2.4
Name: bpengine
Version: 0.1.0
Requires-Dist: numpy>=2
Requires-Dist: scikit-learn>=1.6; extra == 'sklearn'
Requires-Dist: pandas>=2.2.3; extra == "tables"
Requires-Dist: pyarrow>=18; extra == "tables"
Requires-Dist: bpengine[tables,sklearn]; extra == "all"
Requires-Dist: scikit-learn>=1.6; extra == "all"
"""


def installed(folder: Path, origin: dict[str, Any] | None) -> Distribution:
    about = folder / "bpengine-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(NEEDS)
    if origin is not None:
        (about / "direct_url.json").write_text(json.dumps(origin))
    return PathDistribution(about)


def test_install_command_of_a_copy_from_an_index_has_the_name_alone(tmp_path: Path) -> None:
    assert extras.arguments(installed(tmp_path, None), "sklearn") == ['"bpengine[sklearn]"']


def test_install_command_of_a_copy_from_a_wheel_names_the_file_while_it_exists(tmp_path: Path) -> None:
    wheel = tmp_path / NAME
    wheel.touch()
    copy = installed(tmp_path, {"url": wheel.as_uri(), "archive_info": {}})
    assert extras.arguments(copy, "sklearn") == [f'"bpengine[sklearn] @ {wheel.as_uri()}"']
    wheel.unlink()
    assert extras.arguments(copy, "sklearn") == ['"scikit-learn>=1.6"']
    assert extras.arguments(copy, "all") == ['"pandas>=2.2.3"', '"pyarrow>=18"', '"scikit-learn>=1.6"']


def test_install_command_of_a_copy_from_an_address_or_repository_names_it(tmp_path: Path) -> None:
    url = f"https://example.org/{NAME}"
    (tmp_path / "wheel").mkdir()
    wheel = installed(tmp_path / "wheel", {"url": url, "archive_info": {"hash": "sha256=00"}})
    assert extras.arguments(wheel, "jax") == [f'"bpengine[jax] @ {url}"']
    at = {"vcs": "git", "commit_id": "abc123", "requested_revision": "main"}
    (tmp_path / "clone").mkdir()
    clone = installed(
        tmp_path / "clone", {"url": "https://example.org/engine.git", "vcs_info": at, "subdirectory": "code"}
    )
    assert extras.arguments(clone, "jax") == [
        '"bpengine[jax] @ git+https://example.org/engine.git@abc123#subdirectory=code"'
    ]


@pytest.mark.parametrize("editable", [True, False])
def test_install_command_of_a_copy_from_a_folder_names_that_folder(editable: bool, tmp_path: Path) -> None:
    sources = tmp_path / "my engine"
    sources.mkdir()
    origin = {"url": sources.as_uri(), "dir_info": {"editable": True} if editable else {}}
    assert extras.arguments(installed(tmp_path, origin), "onnx") == [*["-e"] * editable, f'"{sources}[onnx]"']


def test_install_command_of_a_copy_run_from_its_sources_names_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = Path(__file__).parents[1]
    monkeypatch.setattr(extras, "__file__", str(here / "bpengine" / "extras.py"))
    assert extras.install_command("mpi", "mpich", upgrade=True) == f'pip install -U -e "{here}[mpi]" mpich'
    assert extras.cure("mpi") == f'Install it with: pip install -e "{here}[mpi]"'
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site-packages" / "bpengine" / "extras.py"))
    assert extras.sources() is None
    monkeypatch.setattr(metadata, "distribution", lambda name: installed(tmp_path, None))
    assert extras.cure("mpi") == 'Install it with: pip install "bpengine[mpi]"'


def test_characters_special_to_a_shell_are_quoted() -> None:
    assert extras.quoted("/a b[x]") == '"/a b[x]"'
    assert extras.quoted("/a$b") == "'/a$b'"
