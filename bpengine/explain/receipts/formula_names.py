"""Names that a formula may use: a call's arguments and options, what the kernel's row adds, and Phi."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import Names


def names_of(
    kernel: str, inputs: Mapping[str, HostArray], options: Mapping[str, Any], dtype: str, real: type[Any]
) -> Names:
    """Return everything a kernel's formulas may name; `real` is the type of all numbers made on the way."""
    row = KERNELS[kernel]
    names: Names = dict.fromkeys(row.optional)  # a formula says what holds without them
    names |= {name: _cast(array, real) for name, array in inputs.items()}
    names |= {
        **options,
        "real": real,
        "tiny": 2.0**20 * float(np.finfo(dtype).smallest_normal),
        "Phi": partial(_normal_cdf, real),
    }
    if row.formula_names is not None:
        names |= row.formula_names(np, names)
    given = {name: _cast(inputs[name], real) for name in row.saved_statistics if name in inputs}
    return {**names, **given}


def _cast(array: HostArray, real: type[Any]) -> HostArray:
    return array.astype(real) if array.dtype.kind == "f" else array


def _normal_cdf(real: type[Any], x: HostArray) -> HostArray:
    """Phi by the complementary error function of the C library, element by element, in float64."""
    flat = [0.5 * math.erfc(-float(v) / math.sqrt(2.0)) if v == v else math.nan for v in np.ravel(x)]
    return np.reshape(np.array(flat, dtype=real), np.shape(x))
