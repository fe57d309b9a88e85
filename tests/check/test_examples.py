"""The examples in the docstrings of the public functions of `bpengine.check`."""

from __future__ import annotations

import doctest
import inspect
import sys
from typing import Any

import pytest

from bpengine import check

FUNCTIONS = [name for name in check.__all__ if inspect.isfunction(getattr(check, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_public_function_is_true(name: str, jax: Any) -> None:
    function = getattr(check, name)
    names = dict(vars(sys.modules[function.__module__]))
    (example,) = doctest.DocTestFinder(recurse=False).find(function, name, globs=names)
    output: list[str] = []
    failed, attempted = doctest.DocTestRunner(verbose=False).run(example, out=output.append)
    assert attempted
    assert not failed, "".join(output)
