"""What is packaged: every package, every entry point, and every extra that a message tells people to install."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes, policy
from email.message import Message
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

import bpengine as bp
from bpengine import extras
from bpengine.backend import OWN, backend_class
from bpengine.cli import main
from docs.site.citation import cited
from tests import dist

ROOT = Path(__file__).parent.parent
PACKAGES = {"bpengine", "bpengine_steps", "bpengine_numpy", "bpengine_jax", "bpengine_cupy"}
BACKENDS = {
    "numpy": "bpengine_numpy:NumpyBackend",
    "jax": "bpengine_jax:JaxBackend",
    "cupy": "bpengine_cupy:CupyBackend",
}
ORACLES = {"jax": "bpengine_jax.oracle:Oracle"}


@pytest.fixture(scope="module")
def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def sources() -> list[Path]:
    return [*(ROOT / "bpengine").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]


def shipped() -> list[Path]:
    """Return every file of the packages: sources, and what they read beside themselves."""
    folders = [ROOT / "bpengine", *(path.parent for path in (ROOT / "backends").glob("*/__init__.py"))]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if "__pycache__" not in path.parts]


def test_extras_for_work_on_the_project_exist(project: Any) -> None:
    extras = project["project"]["optional-dependencies"]
    assert {"test", "bench", "jax", "cuda", "sklearn"} <= set(extras)
    for tool in ("pytest", "ruff", "mypy", "import-linter", "array-api-strict"):
        assert any(re.match(rf"{tool}\b", requirement) for requirement in extras["test"]), tool


def test_every_extra_that_is_named_exists(project: Any) -> None:
    extras = project["project"]["optional-dependencies"]
    named = {
        extra
        for text in map(str, extras.values())
        for names in re.findall(r"bpengine\[([a-z, ]+)\]", text)
        for extra in names.split(",")
    }
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in sources())
    named |= {extra for tree in trees for node in ast.walk(tree) for extra in extras_asked_for(node)}
    assert {"sklearn", "tables", "onnx", "mnist", "plot", "mpi", "fast", "peers"} <= named
    named |= {kind.extra for kind in map(backend_class, bp.backend_names()) if kind.extra}
    assert {"jax", "cuda"} <= named
    assert {extra.strip() for extra in named} <= set(extras)


def extras_asked_for(node: ast.AST) -> list[str]:
    """Return the extra that a call asks the cure of, or that a contender of the benchmark needs."""
    if not isinstance(node, ast.Call):
        return []
    place = {"install_command": 0, "cure": 0, "optional": 2}.get(ast.unparse(node.func).rsplit(".", 1)[-1])
    asked = [] if place is None else node.args[place : place + 1]
    asked += [word.value for word in node.keywords if word.arg == "extra"]
    return [one.value for one in asked if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def test_install_messages_do_not_assume_a_package_index() -> None:
    saying = [
        path.name for path in sources() if re.search(r"install[^\n]*bpengine\[", path.read_text(encoding="utf-8"))
    ]
    assert saying == []


def test_what_the_engine_needs_is_a_dependency(project: Any) -> None:
    needed = [re.split(r"[<>=!~\[; ]", requirement)[0] for requirement in project["project"]["dependencies"]]
    assert {"numpy", "rich", "threadpoolctl", "typer", "array-api-compat"} <= set(needed)
    assert not {"jax", "cupy", "torch", "matplotlib", "scikit-learn"} & set(needed)


def test_the_version_is_stated_once(project: Any) -> None:
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "bpengine/__init__.py"
    assert bp.__version__ not in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


ADDRESS = "https://example.org/ana/bpengine"


@pytest.fixture
def addressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run from sources whose pyproject.toml has an address in the place for it, and nothing else changed."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    place = re.compile(r'^(?:# )?Repository = ".*"$', re.MULTILINE)
    assert len(place.findall(text)) == 1
    (tmp_path / "pyproject.toml").write_text(place.sub(f'Repository = "{ADDRESS}"', text), encoding="utf-8")
    monkeypatch.setattr(extras, "sources", lambda: tmp_path)
    return tmp_path


def test_the_address_of_the_repository_is_stated_once(project: Any) -> None:
    address = project["project"].get("urls", {}).get("Repository")
    assert extras.repository() == address
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert cited(text, address) == text, "python -m docs.site.citation writes it"
    recipes = (ROOT / "Makefile").read_text(encoding="utf-8").split("\n\n")
    (recipe,) = (text for text in recipes if "$(VENV)/docs $(VENV)/bench: pyproject.toml" in text)
    assert "$(BIN)/python -m docs.site.citation" in recipe


def test_an_address_in_its_one_place_reaches_citation_site_and_messages(
    addressed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extras.repository() == ADDRESS
    text = cited((ROOT / "CITATION.cff").read_text(encoding="utf-8"), extras.repository())
    assert yaml.safe_load(text)["repository-code"] == ADDRESS
    assert cited(text, ADDRESS) == text
    options = runpy.run_path(str(ROOT / "docs" / "site" / "conf.py"))["html_theme_options"]
    assert [icon["url"] for icon in options["footer_icons"]] == [ADDRESS]

    def fault(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("bpengine.data.load", fault)
    monkeypatch.setattr("tempfile.tempdir", str(addressed))
    assert main(["train", "iris"]) == 3
    assert main(["train", "iris", "--lang", "pt"]) == 3
    said = capsys.readouterr().err
    assert re.search(rf"please report it with \S+, which holds the traceback\. Repository: {ADDRESS}\.\n", said)
    assert re.search(rf"por favor, relate-o com \S+, que contém o traceback\. Repositório: {ADDRESS}\.\n", said)


def test_an_installed_copy_has_the_address_in_its_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    about = Message()
    about["Project-URL"] = "Documentation, https://example.org/docs"
    monkeypatch.setattr(extras, "sources", lambda: None)
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: about)
    assert extras.repository() is None
    about["Project-URL"] = f"Repository, {ADDRESS}"
    assert extras.repository() == ADDRESS


def test_entry_points_of_the_project_are_those_that_are_installed(project: Any) -> None:
    declared = project["project"]["entry-points"]
    assert declared["bpengine.backends"] == BACKENDS == OWN
    assert declared["bpengine.oracles"] == ORACLES
    for group, points in declared.items():
        assert {p.name: p.value for p in entry_points(group=group)}.items() >= points.items()


def test_every_backend_folder_is_packaged_and_found(project: Any) -> None:
    folders = {path.parent.name for path in (ROOT / "backends").glob("*/__init__.py")}
    assert folders | {"bpengine"} == PACKAGES
    packaged = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packaged) == sorted(["bpengine", *(f"backends/{name}" for name in folders)])


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the sdist and the wheel."""
    return dist.build(tmp_path_factory.mktemp("dist"))


def test_an_sdist_holds_what_its_tests_and_its_wheel_need(artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    work = dist.unpacked(artifacts[0], tmp_path)
    for path in (
        *dist.SMOKE,
        *dist.PACKAGES,
        "long_description.py",
        "Makefile",
        "LICENSE",
        "CITATION.cff",
        "docs/site/conf.py",
    ):
        assert (work / path).exists(), path
    beside = {path.relative_to(work) for path in work.rglob("*") if path.is_file()}
    assert {path.relative_to(ROOT) for path in shipped()} <= beside
    assert {"build", ".venv", "dist"}.isdisjoint(path.parts[0] for path in beside)


def test_the_metadata_say_what_an_index_shows(artifacts: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(artifacts[1]) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name), policy=policy.default)
    assert metadata["Version"] == bp.__version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "A backpropagation engine in Python." in metadata.get_content()


def test_a_wheel_holds_every_file(artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    _, wheel = artifacts
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entries,) = (n for n in names if n.endswith(".dist-info/entry_points.txt"))
        text = archive.read(entries).decode()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == PACKAGES
    assert {"template.html", "page.css", "page.js"} <= {path.name for path in shipped()}
    for path in shipped():
        assert str(path.relative_to(ROOT)).removeprefix("backends/") in names
    page_can_be_made_of(wheel, tmp_path)
    assert not any(name.startswith("tests") or "/tests/" in name for name in names)
    for group, points in (("bpengine.backends", BACKENDS), ("bpengine.oracles", ORACLES)):
        section = text.split(f"[{group}]")[1].split("[")[0]
        assert dict(line.split(" = ") for line in section.strip().splitlines()) == points


def page_can_be_made_of(wheel: Path, folder: Path) -> None:
    """Assert that the command line, run from an unpacked wheel, writes a page with its template, style and scripts."""
    zipfile.ZipFile(wheel).extractall(folder / "unpacked")
    command = [
        sys.executable,
        "-m",
        "bpengine",
        *["explain", "2-2-1", "--data", "xor", "--steps", "2", "--html", "made.html"],
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder / "unpacked")}
    where = "import bpengine; print(bpengine.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", where], cwd=folder, env=environment, capture_output=True, check=True, text=True
    )
    assert done.stdout.startswith(str(folder / "unpacked"))
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    text = (folder / "made.html").read_text(encoding="utf-8")
    for part in ("<!DOCTYPE html>", "color-scheme", "function buildPicture"):
        assert part in text


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_say_that_they_are_typed(package: str) -> None:
    folder = ROOT / "bpengine" if package == "bpengine" else ROOT / "backends" / package
    assert (folder / "py.typed").is_file()
