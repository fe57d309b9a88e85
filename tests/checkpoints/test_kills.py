"""A short round of `python -m tests.kills`."""

from __future__ import annotations

import pytest

from tests.kills import KINDS, attack


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_fits_end_with_the_undisturbed_bits(kind: str) -> None:
    assert attack(kind, 5, seed=1) == 0
