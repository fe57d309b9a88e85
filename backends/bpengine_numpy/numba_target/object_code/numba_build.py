"""Building: Python text to machine code, by Numba. The code stands by itself: it calls nothing of Python's or Numba's.

Numba compiles and optimises each function; what is called from outside is a function of one argument around it. Numba's own
(`cfunc`) reports exceptions, for which it needs Python and Numba in the process; here a function that may raise is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from bpengine_steps.ir import Untraceable
from llvmlite import ir
from numba import cfunc

from bpengine_numpy.numba_target.native_functions import SIGNATURE
from bpengine_numpy.numba_target.object_code.machine_code import Code, target_machine

_EXCEPTION = ".const.picklebuf"  # where Numba keeps an exception that a function may raise
_CLEANING = (
    1  # the optimiser's level: functions are inlined, what is not used is dropped; the loops have been optimised
)


def build(source: str, prefix: str) -> Code:
    """Compile the functions that a text names FUNCTIONS; their symbols begin with `prefix`.

    Raises Untraceable for a function that may raise, and what Numba raises.
    """
    names: dict[str, Any] = {"__name__": prefix}
    code = compile(source, f"<{prefix}>", "exec")
    exec(code, names)  # nosec B102 # text that `codegen` has made from a table
    machine = target_machine()
    symbols = tuple(f"{prefix}_{k}" for k in range(len(names["FUNCTIONS"])))
    module = llvm.parse_assembly("")
    for function, symbol in zip(names["FUNCTIONS"], symbols, strict=True):
        module.link_in(_compiled(function, symbol))
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in symbols:
            value.linkage = "internal"
    module.triple, module.data_layout = llvm.get_process_triple(), str(machine.target_data)
    _clean(module, machine)
    outside = [value.name for value in (*module.functions, *module.global_variables) if value.is_declaration]
    needs = tuple(name for name in outside if not name.startswith("llvm."))
    return Code(symbols, needs, machine.emit_object(module))


def _compiled(function: Callable[..., Any], symbol: str) -> Any:
    """Return one function as a module with its entry."""
    native = cfunc(SIGNATURE, error_model="numpy")(function)
    module = llvm.parse_assembly(native.inspect_llvm())
    if any(value.name.startswith(_EXCEPTION) for value in module.global_variables):
        raise Untraceable(f"a native function, {function.__name__!r}, that may raise")
    module.link_in(llvm.parse_assembly(_entry(native.native_name.removeprefix("cfunc."), symbol)))
    return module


def _entry(inner: str, symbol: str) -> str:
    """Return the text of a function that calls Numba's own, which also takes room for a result and for an exception."""
    module = ir.Module(symbol)
    byte, whole = ir.IntType(8).as_pointer(), ir.IntType(64).as_pointer()
    called = ir.Function(module, ir.FunctionType(ir.IntType(32), [byte, byte, whole]), inner)
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [whole]), symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    room = [builder.bitcast(builder.alloca(byte), byte) for _ in range(2)]
    builder.call(called, [*room, entry.args[0]])
    builder.ret_void()
    return str(module)


def _clean(module: Any, machine: Any) -> None:
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=_CLEANING))
    builder.getModulePassManager().run(module, builder)
