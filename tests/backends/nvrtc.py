"""CUDA C compiled to machine code for a GPU that need not be there: NVRTC itself, without a driver or a device.

CuPy's own helper asks the device what to compile for; this goes straight to the library it compiles with.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

CUDA_MACHINE = 190  # EM_CUDA in the ELF header


class CompileError(Exception):
    """What the compiler said."""


def compile_cubin(source: str, options: Sequence[str] = (), *, arch: int = 90, name: str = "kernel.cu") -> bytes:
    """Return the cubin, an ELF file, of CUDA C for one architecture (90 is Hopper); raise CompileError with the log."""
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(source, name, (), ())
    try:
        nvrtc.compileProgram(program, (f"-arch=sm_{arch}", "-std=c++17", *options))
        return nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        raise CompileError(f"{error}\n{nvrtc.getProgramLog(program)}") from None
    finally:
        nvrtc.destroyProgram(program)


def architecture(cubin: bytes) -> int:
    """Return the architecture that a cubin is for; raise ValueError when it is none."""
    if cubin[:4] != b"\x7fELF" or struct.unpack_from("<H", cubin, 18)[0] != CUDA_MACHINE:
        raise ValueError(f"not a cubin: it starts with {cubin[:20]!r}")
    flags: int = struct.unpack_from("<I", cubin, 48)[0]
    return flags >> 8 & 0xFF
