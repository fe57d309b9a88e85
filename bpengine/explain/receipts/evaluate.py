"""Derive a kernel call's outputs from its inputs with plain NumPy: the formula of the KERNELS table, evaluated as printed.

No kernel function is called. The formulas are text, written beside the kernels and not derived from them; what they name
besides the arguments (a mask, a mean, the share of a row in the loss) is computed here. Everything is in extended
precision where the machine has it, so that only the engine's own rounding remains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.receipts.does_not_follow import DoesNotFollow, reason
from bpengine.i18n.message import Message
from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._kernel import Array, Names
from bpengine.streams import stream
from bpengine.system.quiet import Quiet

WIDE = np.longdouble


def derive(
    function: str, inputs: Mapping[str, HostArray], options: Mapping[str, Any], dtype: str, *, wide: bool = True
) -> dict[str, HostArray]:
    """Return the outputs of a call by name; a backward gets the inputs and statistics of its forward, and its dy.

    Raises DoesNotFollow for a function that is not in the KERNELS table.
    wide: in extended precision; otherwise in `dtype` itself, to measure the effect of its rounding on the formula.
    """
    row = next((k for k in KERNELS.values() if function in _functions(k)), None)
    if row is None:
        raise DoesNotFollow(reason("no_kernel", function=function))
    names = names_of(row.name, inputs, {**row.options, **options}, dtype, np.dtype(WIDE if wide else dtype).type)
    back = row.backward is not None and function == row.backward.__name__
    wanted = [f"d{n}" for n in row.differentiable] if back else list(row.outputs)
    derived: dict[str, HostArray] = {}
    with Quiet():
        if back and row.kind == "activation":
            names["y"] = _evaluated(row.formula["y"], names)
        for name in sorted(wanted, key=lambda n: n.startswith("new_w")):  # new_w is made of the other new ones
            special = row.formula_values.get(name)
            derived[name] = special(np, names) if special else _evaluated(row.formula[name], names)
            names[name] = derived[name]
        if not back:
            derived |= {name: names[name] for name in row.saved_statistics}
    return {name: np.asarray(value) for name, value in derived.items()}


def _functions(row: Kernel) -> list[str]:
    return [f.__name__ for f in (row.forward, row.backward) if f is not None]


def _evaluated(formula: str, names: Names) -> Array:
    """Evaluate a formula of the KERNELS table; never text from elsewhere."""
    return eval(formula, {"xp": np, "__builtins__": {}}, names)  # nosec B307 # the table's formulas, which are code of ours


def names_of(
    kernel: str, inputs: Mapping[str, HostArray], options: Mapping[str, Any], dtype: str, real: type[Any]
) -> Names:
    """Return everything a kernel's formulas may name; `real` is the type of all intermediate numbers."""
    row = KERNELS[kernel]
    names: Names = dict.fromkeys(row.optional)  # where they are not passed, the formula states the default
    names |= {name: _cast(array, real) for name, array in inputs.items()}
    names |= {
        **options,
        "real": real,
        "tiny": 2.0**20 * float(np.finfo(dtype).smallest_normal),
        "Phi": partial(_normal_cdf, real),
    }
    if row.formula_names is not None:
        names |= row.formula_names(np, names)
    saved = {name: _cast(inputs[name], real) for name in row.saved_statistics if name in inputs}
    return {**names, **saved}


def _cast(array: HostArray, real: type[Any]) -> HostArray:
    return array.astype(real) if array.dtype.kind == "f" else array


def _normal_cdf(real: type[Any], x: HostArray) -> HostArray:
    """Phi by the complementary error function of the C library, element by element, in float64."""
    flat = [0.5 * math.erfc(-float(v) / math.sqrt(2.0)) if v == v else math.nan for v in np.ravel(x)]
    return np.reshape(np.array(flat, dtype=real), np.shape(x))


ROUNDINGS = 8.0  # times sqrt(length of the longest sum): the bound on the rounding error of a kernel's result
SHAKES = 4  # how often inputs are perturbed by one rounding, to measure its effect and that of intermediate rounding


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
    with Quiet():
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
