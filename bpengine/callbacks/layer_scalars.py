"""Gradient flow through each layer as numbers for a log: from `bpengine.sensitivity`, on given rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from bpengine.backend import ArrayLike
from bpengine.errors import ConfigError
from bpengine.trained import TrainedNetwork

Rows: TypeAlias = Sequence[ArrayLike]  # (x, y) or (x, y, weights)


def check_rows(rows: object, who: str) -> Rows | None:
    """Return the rows on which layers are measured, None for none; raise ConfigError for anything but such a tuple."""
    if rows is None:
        return None
    if not isinstance(rows, (tuple, list)) or len(rows) not in (2, 3):
        raise ConfigError(f"{who} requires layers=(x, y) or (x, y, weights), got {type(rows).__name__}.")
    return rows


def layer_scalars(model: TrainedNetwork, rows: Rows) -> dict[tuple[str, str], float]:
    """Return numbers by place and name.

    gradient_norm: of all parameters of a layer; dz_rms: root mean square of dL/dz; dz_ratio: the same relative to the output
    layer's; dead_units, saturated_units: how many units pass no gradient, or less than 5 % of the maximum, on all of the rows.
    """
    # Imported in the call: logs are loaded with the command line, and most are used without these rows.
    from bpengine.explain.gradient_flow.sensitivity import sensitivity

    scalars: dict[tuple[str, str], float] = {}
    x, y, *weights = rows
    for layer in sensitivity(model, x, y, weights=weights[0] if weights else None).layers:
        numbers = {
            "gradient_norm": layer.norm, "dz_rms": layer.rms, "dz_ratio": layer.ratio, "dead_units": float(len(layer.dead)),
            "saturated_units": float(len(layer.saturated)),
        }  # fmt: skip
        scalars |= {(layer.place, name): value for name, value in numbers.items() if value is not None}
    return scalars
