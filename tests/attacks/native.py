"""Native functions that attacks put into Python and NumPy: a trace function that counts, allocators that fail.

They must not call Python, and be fast: so they are written as LLVM's instructions here, around a row of 64-bit counters.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from bpengine_numpy.llvm_target.object_code.machine_code import target_machine
from llvmlite import ir

WHOLE, BYTE, INT = ir.IntType(64), ir.IntType(8).as_pointer(), ir.IntType(32)
Body = Callable[[ir.IRBuilder, Sequence[Any]], Any]
_engines: list[Any] = []  # their code must outlive whoever calls it


def counters(count: int) -> np.ndarray[Any, Any]:
    """Return counters that native functions count in; they are never freed, as those functions are not."""
    numbers = np.zeros(count, np.int64)
    _engines.append(numbers)
    return numbers


def place(builder: ir.IRBuilder, counter: np.ndarray[Any, Any], index: int) -> Any:
    """Return the place of a counter."""
    return builder.inttoptr(WHOLE(counter.ctypes.data + 8 * index), WHOLE.as_pointer())


def call(builder: ir.IRBuilder, address: int | Any, result: Any, arguments: Sequence[Any]) -> Any:
    """Call the function at an address."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments]).as_pointer()
    where = WHOLE(address) if isinstance(address, int) else address
    return builder.call(builder.inttoptr(where, kind), list(arguments))


def function(result: Any, arguments: Sequence[Any], body: Body) -> int:
    """Return the address of a function whose instructions `body` writes; it returns what the function returns."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = ir.Module("attack")
    name = f"attack_{len(_engines)}"
    compiled = ir.Function(module, ir.FunctionType(result, list(arguments)), name)
    builder = ir.IRBuilder(compiled.append_basic_block())
    builder.ret(body(builder, compiled.args))
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    engine = llvm.create_mcjit_compiler(parsed, target_machine())
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address(name))


def address(of: Any) -> int:
    """Return the address of a C function."""
    return ctypes.cast(of, ctypes.c_void_p).value or 0
