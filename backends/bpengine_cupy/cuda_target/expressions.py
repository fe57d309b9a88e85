"""Operations as CUDA C, and numbers as literals.

Templates: {0}, {1} operands, {t} the result's type. Names with `m_` are overloads in prelude.cuh.
"""

from __future__ import annotations

import math

import numpy as np
from bpengine_steps.ir import DType, StepNode

from bpengine_cupy.cuda_target.bfloat16 import ROUND

EXPRESSIONS = {
    "cast": "{t}({0})",
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "square": "{0} * {0}",
    "reciprocal": "{t}(1) / {0}",
    "absolute": "m_abs({0})",
    "sqrt": "m_sqrt({0})",
    "maximum": "maximum({0}, {1})",
    "minimum": "minimum({0}, {1})",
    "sign": "sign({0})",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "isfinite": "m_isfinite({0})",
    "isnan": "{0} != {0}",
    "where": "{0} ? {1} : {2}",
    "bitwise_xor": "{0} ^ {1}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_not": "!{0}",
    "right_shift": "{0} >> {1}",
    "left_shift": "{0} << {1}",
    "exp": "m_exp({0})",
    "log": "m_log({0})",
    "log1p": "m_log1p({0})",
    "expm1": "m_expm1({0})",
    "tanh": "m_tanh({0})",
    "rint": "m_rint({0})",
    "floor": "m_floor({0})",
    "ceil": "m_ceil({0})",
    "power": "m_pow({0}, {1})",
    "sin": "m_sin({0})",
    "cos": "m_cos({0})",
    "tan": "m_tan({0})",
    "arcsin": "m_asin({0})",
    "arccos": "m_acos({0})",
    "arctan": "m_atan({0})",
    "arctan2": "m_atan2({0}, {1})",
    "sinh": "m_sinh({0})",
    "cosh": "m_cosh({0})",
    "arcsinh": "m_asinh({0})",
    "arccosh": "m_acosh({0})",
    "arctanh": "m_atanh({0})",
    "log2": "m_log2({0})",
    "log10": "m_log10({0})",
    "logaddexp": "m_logaddexp({0}, {1})",
    "hypot": "m_hypot({0}, {1})",
    "trunc": "m_trunc({0})",
    "copysign": "m_copysign({0}, {1})",
    "signbit": "m_signbit({0})",
    "isinf": "!m_isfinite({0}) && {0} == {0}",
    "positive": "{0}",
    "logical_xor": "!{0} != !{1}",
}
FLOATS_ONLY = {  # functions of C, which have no form for whole numbers
    *("exp", "expm1", "log", "log1p", "log2", "log10", "logaddexp", "power", "sqrt", "hypot", "reciprocal"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2"),
    *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
    *("rint", "floor", "ceil", "trunc", "copysign", "signbit", "isinf"),
}
IDENTITY = {"add": "0", "maximum": "-INFINITY", "minimum": "INFINITY"}
TYPES = ("f4", "f8", "i4", "i8", "u4", "u8", "u1", "b1")


def inline(ufunc: str, kind: str, operands: str) -> bool:
    """Tell whether generated CUDA computes a ufunc, for results and first operand of these dtype kinds."""
    if ufunc == "invert":
        return kind in "bui"
    if ufunc == "absolute":
        return operands in "fi"
    if ufunc == ROUND:
        return operands == "f"
    return ufunc in EXPRESSIONS and (operands == "f" or ufunc not in FLOATS_ONLY)


def elementwise(node: StepNode) -> bool:
    """Tell whether the node is computed element by element inside a pass."""
    return node.op == "ufunc" and inline(node.info, node.dtype.kind, node.inputs[0].dtype.kind) and typed(node)


def typed(node: StepNode) -> bool:
    """Tell whether CUDA has a type for the elements of the node and its operands; bfloat16 is for products only."""
    return node.info == ROUND or all(n.dtype.str[1:] in TYPES for n in (node, *node.inputs))


def c_type(dtype: DType) -> str:
    """Return the name of a dtype in prelude.cuh: "f4", "i8", "b1" ..."""
    return dtype.str[1:]


def expression(node: StepNode, operands: list[str]) -> str:
    """Return the node's value in CUDA C, in the node's type."""
    template = EXPRESSIONS.get(node.info, "")
    if node.info == "invert":
        template = "!{0}" if node.dtype.kind == "b" else "~{0}"
    if node.info == ROUND:
        template = "m_bfloat16({0})"
    kind = c_type(node.dtype)
    return f"{kind}({template.format(*operands, t=kind)})"


def literal(value: np.generic) -> str:
    """Return a NumPy scalar as a CUDA C literal, exact to the bit: floats in hexadecimal."""
    dtype: DType = np.dtype(value.dtype)
    kind = c_type(dtype)
    if dtype.kind == "f":
        number = float(value)
        if math.isnan(number):
            return f"{kind}(NAN)"
        if math.isinf(number):
            return f"{kind}({'-' if number < 0 else ''}INFINITY)"
        return f"{kind}({number.hex()}{'f' if kind == 'f4' else ''})"
    if dtype.kind == "b":
        return "true" if value else "false"
    suffix = ("u" if dtype.kind == "u" else "") + ("ll" if dtype.itemsize == 8 else "")
    return f"{kind}({int(value)}{suffix})"


def identity(ufunc: str, kind: str) -> str:
    """Return the identity element of a reduction."""
    return f"{kind}({IDENTITY[ufunc]})"
