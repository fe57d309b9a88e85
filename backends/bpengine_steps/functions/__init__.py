"""Compiled functions: pure functions of arrays other than steps, such as evaluations, recorded and planned like a step.

function_record    a function as a step
compiled_function  the function compiled, for each form of its arguments

So everything that a target does for steps applies here as well: fusion, memory, products, graphs.
"""

from bpengine_steps.functions.compiled_function import CompiledCall, CompiledFunction
from bpengine_steps.functions.function_record import RecordedFunction, mapped, record_function

__all__ = ["CompiledCall", "CompiledFunction", "RecordedFunction", "mapped", "record_function"]
