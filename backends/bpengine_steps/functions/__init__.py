"""Compiled functions: pure functions of arrays that are no steps, such as evaluations, recorded and planned as one.

function_record    a function as a step
compiled_function  the function compiled, for each form of its arguments

So all that a target knows of steps serves here as well: fusion, memory, products, graphs.
"""

from bpengine_steps.functions.compiled_function import CompiledCall, CompiledFunction
from bpengine_steps.functions.function_record import RecordedFunction, mapped, record_function

__all__ = ["CompiledCall", "CompiledFunction", "RecordedFunction", "mapped", "record_function"]
