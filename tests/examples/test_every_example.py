"""Every worked example on every backend: each quantity beside its reference, each published number beside ours."""

from __future__ import annotations

import numpy as np
import pytest

from bpengine import examples
from tests.examples.test_known import COUNTS, table

EXPLAINED = {"mazur_222": 3, "ng_ex4_digits_cost": 3}
NOT_COMPUTED = {
    "ng_ex4_digits_cost": {"J_lambda_0", "sum_of_squared_weights_without_bias"},
    "nielsen_mnist_784_30_10": {"correct_of_10000_epochs_0_1_2", "correct_epochs_27_28_29"},
}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("name", COUNTS)
def test_every_example_reproduces_or_explains_its_published_numbers(name: str, backend_name: str) -> None:
    """The judgement is made here once more, from the table itself, so that it does not rest on `Result` alone."""
    result, entry = examples.run(name, backend_name), table()[name]
    assert (result.name, result.backend) == (name, backend_name)
    assert [row.quantity for row in result.rows] == list(entry["expected"])
    assert {row.quantity for row in result.rows if row.ours is None} == NOT_COMPUTED.get(name, set())
    for row in result.rows:
        known = entry["expected"][row.quantity]
        if row.ours is not None:
            general = {**entry["tolerance"], **{key: known[key] for key in ("rtol", "atol") if key in known}}
            limit = general["atol"] + general["rtol"] * np.max(np.abs(known["value"]))
            assert np.shape(row.ours) == np.shape(known["value"]), row.quantity
            assert np.max(np.abs(np.subtract(row.ours, known["value"]))) <= limit, row.quantity
        if row.ours is not None and known.get("tol_published") is not None:
            assert np.max(np.abs(np.subtract(row.ours, known["published"]))) <= known["tol_published"], row.quantity
        elif "published" in known or row.ours is None:
            assert row.reproduced == "explained", row.quantity
    assert result.failures == ()
    assert result.published == COUNTS[name]
    assert result.explained == EXPLAINED.get(name, 0)
    assert result.reproduced == COUNTS[name] - EXPLAINED.get(name, 0)


def test_every_published_number_is_accounted_for() -> None:
    """99 are reproduced and 6 explained: what the test above asserts for each adds up to 105."""
    assert sum(COUNTS.values()) - sum(EXPLAINED.values()) == 99
    assert sum(EXPLAINED.values()) == 6
