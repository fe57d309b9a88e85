"""The judgement can fail: a wrong, missing, misshapen or unknown number is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bpengine import examples
from bpengine.examples.known import Known, Quantity, known
from bpengine.examples.result import judge
from bpengine.examples.tools import Desk

NAME = "rashid_333"


def ours() -> dict[str, Any]:
    return examples.EXAMPLES[NAME](Desk("numpy"))


def test_right_numbers_pass() -> None:
    result = judge(known(NAME), "numpy", ours())
    assert result.failures == ()
    assert (result.published, result.reproduced, result.explained) == (4, 4, 0)
    assert {row.reproduced for row in result.rows} == {"yes"}


@pytest.mark.parametrize(
    "breaks",
    [
        lambda value: 2 * value,
        lambda value: value + 1e-9,  # within what is published, not within float64
        lambda value: value[:, None],
        lambda value: value[:2],
        lambda value: value * np.nan,
    ],
    ids=["factor", "digits", "shape", "length", "nan"],
)
def test_a_wrong_number_fails(breaks: Callable[[Any], Any]) -> None:
    numbers = ours()
    numbers["o_hidden"] = breaks(numbers["o_hidden"])
    result = judge(known(NAME), "numpy", numbers)
    assert [row.quantity for row in result.failures] == ["o_hidden"]
    assert result.reproduced == 3


def test_a_missing_number_fails() -> None:
    numbers = ours()
    del numbers["x_output"]
    (row,) = judge(known(NAME), "numpy", numbers).failures
    assert (row.quantity, row.ours, row.difference) == ("x_output", None, None)


def test_a_number_that_the_table_does_not_know_fails() -> None:
    (row,) = judge(known(NAME), "numpy", {**ours(), "extra": 1.0}).failures
    assert (row.quantity, row.ours) == ("extra", 1.0)


def test_an_explanation_does_not_excuse_another_number() -> None:
    """What is explained is that the printed number differs from the reference, not that ours does."""
    quantity = Quantity(name="q", value=1.0, tolerance=1e-12, published=2.0, explained="A misprint.")
    entry = Known(
        name="n", source="s", summary="w", network={}, data={}, quantities=(quantity,), errata=(), reason=None
    )
    verdicts = {value: judge(entry, "numpy", {"q": value}).rows[0].reproduced for value in (1.0, 2.0, 3.0)}
    assert verdicts == {1.0: "explained", 2.0: "no", 3.0: "no"}


def test_a_reference_alone_does_not_make_a_published_number_reproduced() -> None:
    quantity = Quantity(name="q", value=1.0, tolerance=1e-12, published=2.0, tol_published=0.1)
    (row,) = judge(
        Known(name="n", source="s", summary="w", network={}, data={}, quantities=(quantity,), errata=(), reason=None),
        "numpy",
        {"q": 1.0},
    ).rows
    assert (row.reproduced, row.difference, row.tolerance) == ("no", 1.0, 0.1)


def test_a_backend_object_is_taken_as_it_is() -> None:
    assert examples.run(NAME, Desk("numpy").backend).failures == ()
