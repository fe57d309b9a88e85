"""Every public name is in the API reference and shows an example that is run: in its docstring, or on the page of examples."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from docs.site.docstrings import DATA
from docs.site.reference import names_of, offered, public_names
from tests.docs.checks import check_session
from tests.docs.page import Page
from tests.face.collect import MODULES

PAGE = Page.read(Path(__file__).parents[2] / "docs" / "examples.md")
FACES = (bp.Model, bp.Network, bp.History)
ON_THE_PAGE = (
    ["training"],
    ["data"],
)  # modules of files and fits, whose examples build on each other: one session shows them

TAKES_SECONDS = ("benchmark.run",)  # it measures the machine

# What shows no example of its own, and why.
NO_EXAMPLE: dict[str, str] = {}


def public() -> dict[str, Any]:
    """Return the public functions, classes, values and methods by name, each once."""
    listed = {name.removeprefix("bpengine."): public.value for name, public in public_names().items()}
    for face in FACES:
        listed |= {f"{face.__name__}.{name}": value for name, value in methods(face)}
    return listed


def methods(face: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, as the functions that hold their docstrings."""
    for name, value in vars(face).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def shown_on_page(name: str, value: Any) -> bool:
    """Tell whether the session of the page uses a value, or a name of the modules whose examples it shows."""
    word = name.rpartition(".")[2]
    package = getattr(value, "__module__", "").split(".")[1:2]
    there = f"bpengine.{name}" in DATA or package in ON_THE_PAGE or name == "Model.fit"
    return there and bool(re.search(rf"\b{word}\b", PAGE.session))


PUBLIC = public()
IN_DOCSTRINGS = [
    name for name, value in PUBLIC.items() if f"bpengine.{name}" not in DATA and ">>>" in (value.__doc__ or "")
]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.thorough) if n in TAKES_SECONDS else n for n in IN_DOCSTRINGS]
)
def test_example_of_every_docstring_runs_as_shown(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    value = inspect.unwrap(PUBLIC[name])
    if value.__module__.startswith("bpengine.check") or name == "Model.check":
        request.getfixturevalue("jax")
    (example,) = doctest.DocTestFinder(recurse=False).find(
        value, name, globs={**vars(inspect.getmodule(value)), "bp": bp, "np": np}
    )
    output: list[str] = []
    failed, attempted = doctest.DocTestRunner(verbose=False).run(example, out=output.append)
    assert attempted
    assert not failed, "".join(output)


def test_examples_of_the_training_and_data_page_run_as_shown(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    check_session(PAGE, {})


def names_offered() -> dict[str, Any]:
    """Return what the modules of the public face offer, by the names of the face, modules and type variables apart."""
    every: dict[str, Any] = {}
    for module in (*MODULES, "bpengine.sklearn"):
        values = {f"{module}.{name}": offered(module, name) for name in names_of(module)}
        every |= {name: value for name, value in values.items() if not isinstance(value, ModuleType)}
    return every


def test_every_public_name_is_in_the_reference() -> None:
    listed = {id(public.value) for public in public_names().values()}
    assert [name for name, value in names_offered().items() if id(value) not in listed] == []


def test_a_value_of_the_reference_says_what_it_is() -> None:
    assert {public.name for public in public_names().values() if public.kind == "data"} == set(DATA)


def test_new_public_name_of_a_module_is_detected(monkeypatch: Any) -> None:
    monkeypatch.setattr(bp.check, "anew", lambda: None, raising=False)
    monkeypatch.setattr(bp.check, "__all__", [*bp.check.__all__, "anew"])
    assert "bpengine.check.anew" in names_offered()
    assert "check.anew" in public()


def test_every_public_name_shows_an_example() -> None:
    without = {name for name, value in PUBLIC.items() if name not in IN_DOCSTRINGS and not shown_on_page(name, value)}
    assert without == set(NO_EXAMPLE)


def test_name_without_an_example_is_detected() -> None:
    def lonely() -> None:
        """Return nothing."""

    lonely.__module__ = "bpengine.data.loading"
    assert not shown_on_page("data.lonely", lonely)
    assert shown_on_page("data.read_csv", bp.data.read_csv)
    assert not shown_on_page("jvp", bp.jvp)
