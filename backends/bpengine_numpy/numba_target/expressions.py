"""What is computed inside fused loops: algebra, exact in IEEE arithmetic, so that a fused loop gives NumPy's own bits.

Everything else (exp, log, tanh, expm1 ...) is left to NumPy's vectorised loops: Numba's scalar ones are many times slower.
Templates: {0}, {1} operands, {t} the result's dtype.
"""

from __future__ import annotations

FUSED = {
    "cast": "{t}({0})",
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "square": "{0} * {0}",
    "absolute": "abs({0})",
    "sqrt": "math.sqrt({0})",
    # a comparison with a NaN is false: the NaN comes out, from either side
    "maximum": "{0} if ({0} >= {1} or {0} != {0}) else {1}",
    "minimum": "{0} if ({0} <= {1} or {0} != {0}) else {1}",
    "sign": "{t}(1) if {0} > 0 else ({t}(-1) if {0} < 0 else {0})",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "isfinite": "{0} - {0} == 0",
    "where": "{1} if {0} else {2}",
    "bitwise_xor": "{0} ^ {1}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "logical_and": "{0} and {1}",
    "logical_or": "{0} or {1}",
    "logical_not": "not {0}",
    "right_shift": "{0} >> {1}",
    "left_shift": "{0} << {1}",
}
INVERT = {"b": "not {0}", "u": "~{0}", "i": "~{0}"}
FLOATS_ONLY = {"absolute", "sqrt", "sign", "isfinite"}  # of other dtypes NumPy's own loops take care


def template(ufunc: str, kind: str, operands: str) -> str | None:
    """Return the expression of a ufunc with results and first operand of these dtype kinds, or None for NumPy's loop."""
    if ufunc == "invert":
        return INVERT.get(kind)
    if ufunc in FLOATS_ONLY and operands != "f":
        return None
    return FUSED.get(ufunc)
