"""Building: LLVM's instructions as text to machine code. It calls only addresses in its arguments and what `Code` names.

A text's functions are called from outside under the names in `Code.symbols`; others are internal.
"""

from __future__ import annotations

import llvmlite.binding as llvm

from bpengine_numpy.llvm_target.object_code.machine_code import Code, target_machine

PREFIX = "@bp_"  # names of the functions that are called from outside, in the order of the text
UNROLLED = "; unrolled\n"  # the first line of a text whose loops are short, and become instructions one after another
_SPEED = 3  # the optimiser's level


def build(source: str, prefix: str) -> Code:
    """Compile a text; the symbols of its functions begin with `prefix`. Raises RuntimeError for an invalid text."""
    machine = target_machine()
    module = llvm.parse_assembly(source.replace(PREFIX, f"@{prefix}_"))
    module.triple, module.data_layout = llvm.get_process_triple(), str(machine.target_data)
    symbols = tuple(f.name for f in module.functions if not f.is_declaration and f.name.startswith(prefix))
    _optimise(module, machine, unrolled=source.startswith(UNROLLED))
    outside = [value.name for value in (*module.functions, *module.global_variables) if value.is_declaration]
    needs = tuple(name for name in outside if not name.startswith("llvm."))
    return Code(symbols, needs, machine.emit_object(module))


def _optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine, *, unrolled: bool) -> None:
    tuning = llvm.create_pipeline_tuning_options(speed_level=_SPEED)
    tuning.loop_vectorization = tuning.loop_interleaving = True
    # a third of the time, from which other loops gain nothing
    tuning.slp_vectorization = tuning.loop_unrolling = unrolled
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
