"""How often rows are seen where nobody says it: by the command line and by the estimators."""

from __future__ import annotations

import math

SMALL, FEWEST, MOST, STEPS = 10_000, 20, 200, 400  # rows of a small table; epochs; steps at least


def default_epochs(rows: int, batch: int) -> int:
    """Return how often rows are seen where nobody says it: small tables need more passes for as many steps."""
    return max(FEWEST, min(MOST, MOST * SMALL // rows), math.ceil(STEPS / math.ceil(rows / batch)))
