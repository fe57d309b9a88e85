"""Every public name shows an example that is run: in its docstring, or on the page of training and data."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine import sklearn as estimators
from tests.docs.checks import check_session
from tests.docs.page import Page

PAGE = Page.read(Path(__file__).parents[2] / "docs" / "examples.md")
ROOMS = [name for name in bp.__all__ if inspect.ismodule(getattr(bp, name))]
FACES = (bp.Model, bp.Network, bp.History)
ON_THE_PAGE = (
    "training",
    "data",
)  # rooms of files and fits, whose examples build on each other: one session shows them

# What shows no example of its own, and why.
NO_EXAMPLE: dict[str, str] = {}


def public() -> dict[str, Any]:
    """Return the public functions, classes and methods by name, each once."""
    places = [("", bp), *((f"{room}.", getattr(bp, room)) for room in ROOMS), ("sklearn.", estimators)]
    named = [(start + n, getattr(room, n)) for start, room in places for n in getattr(room, "__all__", ())]
    named += [(f"{face.__name__}.{name}", value) for face in FACES for name, value in methods(face)]
    first: dict[int, tuple[str, Any]] = {}
    for name, value in named:
        if inspect.isclass(value) or inspect.isfunction(value):
            first.setdefault(id(value), (name, value))
    return dict(first.values())


def methods(face: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, as the functions that hold their docstrings."""
    for name, value in vars(face).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def shown_on_page(name: str, value: Any) -> bool:
    """Tell whether the session of the page uses a name of the rooms whose examples stand there."""
    room = value.__module__.split(".")[1]
    word = name.rpartition(".")[2]
    return (room in ON_THE_PAGE or name == "Model.fit") and bool(re.search(rf"\b{word}\b", PAGE.session))


PUBLIC = public()
IN_DOCSTRINGS = [name for name, value in PUBLIC.items() if ">>>" in (value.__doc__ or "")]


@pytest.mark.parametrize("name", IN_DOCSTRINGS)
def test_the_example_of_a_docstring(
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


def test_the_examples_of_training_and_data(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    check_session(PAGE, {})


def test_every_public_name_shows_an_example() -> None:
    without = {name for name, value in PUBLIC.items() if name not in IN_DOCSTRINGS and not shown_on_page(name, value)}
    assert without == set(NO_EXAMPLE)


def test_a_name_without_an_example_is_seen() -> None:
    def lonely() -> None:
        """Return nothing."""

    lonely.__module__ = "bpengine.data.loading"
    assert not shown_on_page("data.lonely", lonely)
    assert shown_on_page("data.read_csv", bp.data.read_csv)
    assert not shown_on_page("jvp", bp.jvp)
