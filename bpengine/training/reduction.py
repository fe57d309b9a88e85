"""Checks that a user's loss is the mean or the sum over rows that it declares."""

from __future__ import annotations

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.losses import CustomLoss
from bpengine.ops import Ops

NEAR = 1e-6


def require_reduction(loss: CustomLoss, y: HostArray, target: HostArray) -> None:
    """Raise ConfigError for a loss that is declared a mean and is a sum, or the other way round.

    Every row is given twice: a mean stays the same, a sum doubles. A loss that is neither, such as a largest error, passes.
    """
    forward = Ops(np).forward(loss.kernel)
    once = float(forward(y, target)[0])
    twice = float(forward(np.concatenate([y, y]), np.concatenate([target, target]))[0])
    other, factor = ("sum", 2.0) if loss.reduction == "mean" else ("mean", 1.0)
    if once and np.isclose(twice, factor * once, rtol=NEAR, atol=0.0):
        raise ConfigError(
            f"loss {loss.name!r} requires the reduction {other!r}, got {loss.reduction!r}: with every row given twice it is "
            f"{factor:g} times as large, {twice:.6g}. Say reduction={other!r}."
        )
