"""Derive a kernel call's outputs from its inputs with plain NumPy: the formula of the KERNELS table, evaluated as printed.

No kernel function is called. The formulas are text, written beside the kernels and not made from them; what they name
besides the arguments (a mask, a mean, the share of a row in the loss) is computed here. All in extended precision where
the machine has it, so that the only rounding left is that of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.receipts.does_not_follow import DoesNotFollow, reason
from bpengine.explain.receipts.formula_names import names_of
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import Names

WIDE = np.longdouble


def derive(
    function: str, inputs: Mapping[str, HostArray], options: Mapping[str, Any], dtype: str, *, wide: bool = True
) -> dict[str, HostArray]:
    """Return the outputs of a call by name; a backward is given the inputs and statistics of its forward, and its dy.

    Raises DoesNotFollow for a function that is not in the KERNELS table.
    wide: in extended precision; otherwise in `dtype` itself, to see what its rounding does to the formula.
    """
    row = next((k for k in KERNELS.values() if function in _functions(k)), None)
    if row is None:
        raise DoesNotFollow(reason("no_kernel", function=function))
    names = names_of(row.name, inputs, {**row.options, **options}, dtype, np.dtype(WIDE if wide else dtype).type)
    back = row.backward is not None and function == row.backward.__name__
    wanted = [f"d{n}" for n in row.differentiable] if back else list(row.outputs)
    derived: dict[str, HostArray] = {}
    with np.errstate(all="ignore"):
        if back and row.kind == "activation":
            names["y"] = _evaluated(row.formula["y"], names)
        for name in sorted(wanted, key=lambda n: n.startswith("new_w")):  # new_w is made of the other new ones
            special = row.formula_values.get(name)
            derived[name] = special(np, names) if special else _evaluated(row.formula[name], names)
            names[name] = derived[name]
        if not back:
            derived |= {name: names[name] for name in row.saved_statistics}
    return {name: np.asarray(value) for name, value in derived.items()}


def _functions(row: Any) -> list[str]:
    return [f.__name__ for f in (row.forward, row.backward) if f is not None]


def _evaluated(formula: str, names: Names) -> Any:
    """Evaluate a formula of the KERNELS table; never text from elsewhere."""
    return eval(formula, {"xp": np, "__builtins__": {}}, names)  # nosec B307 # the table's formulas, which are code of ours
