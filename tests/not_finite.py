"""Models with numbers that no setter takes: what a computation that went wrong would leave."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp


def put(model: bp.Model, values: dict[str, Any]) -> None:
    """Put numbers that may be NaN or infinite into parameters, past the setter, which refuses them."""
    assert values.keys() <= model._params.keys()
    brought = {n: model.backend.asarray(np.asarray(value), model.dtype) for n, value in values.items()}
    model._params = {**model._params, **brought}
