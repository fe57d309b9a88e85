"""Closeness: whether a recorded array is the derived one but for what the rounding of its dtype may do."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.receipts.does_not_follow import reason
from bpengine.i18n.message import Message
from bpengine.streams import stream

ROUNDINGS = 8.0  # times sqrt(length of the longest sum): what a dtype's rounding may do to a kernel's result
SHAKES = 4  # how often inputs are shaken by one rounding, to see how far that and rounding on the way carry a result


def shaken(inputs: Mapping[str, HostArray], draw: int) -> dict[str, HostArray]:
    """Return the inputs with every number changed by about one rounding of its dtype."""
    rng = stream("explain rounding", draw)

    def moved(a: HostArray) -> HostArray:
        if a.dtype.kind != "f":
            return a
        wide = a.astype(np.longdouble)
        return np.asarray(wide * (1 + np.finfo(a.dtype).eps * rng.uniform(-1.0, 1.0, a.shape)), dtype=a.dtype)

    return {name: moved(a) for name, a in inputs.items()}


def differs(
    got: HostArray, derived: HostArray, shaken: list[HostArray], inputs: Mapping[str, HostArray]
) -> Message | None:
    """Say how a recorded array differs from the derived one, or return None when it is within rounding."""
    if got.shape != derived.shape:
        return reason("shape", got=got.shape, derived=derived.shape)
    if got.dtype.kind != "f":
        return None if np.array_equal(got, derived) else reason("other")
    with np.errstate(all="ignore"):
        wrong = np.isfinite(got) != np.isfinite(derived.astype(got.dtype))
        off = np.where(np.isfinite(got) & np.isfinite(derived), np.abs(got - derived), 0.0)
        moved = [np.where(np.isfinite(s - derived), np.abs(s - derived), 0.0) for s in shaken]
    eps, tiny = float(np.finfo(got.dtype).eps), float(np.finfo(got.dtype).smallest_normal)
    length = max((max(a.shape, default=1) for a in inputs.values()), default=1)
    finite = np.where(np.isfinite(derived), np.abs(derived), 0.0)
    scale = max(float(np.max(finite, initial=0.0)), float(np.max(moved, initial=0.0)) / eps)
    wrong = wrong | (off > ROUNDINGS * math.sqrt(length) * eps * scale + tiny)
    if not wrong.any():
        return None
    at = np.unravel_index(int(np.argmax(np.where(wrong, np.maximum(off, tiny), -1.0))), got.shape)
    place = f"[{','.join(str(int(i)) for i in at)}]" if at else ""
    return reason("value", index=place, got=float(got[at]), derived=float(derived[at]))
