"""CUDA C compiled to machine code for a GPU that need not be there: NVRTC itself, without a driver or a device.

CuPy's own helper asks the device what to compile for; this goes straight to the library it compiles with.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from bpengine_cupy.cuda_target.compiler import compile_text

CUDA_MACHINE = 190  # EM_CUDA in the ELF header


def compile_cubin(source: str, options: Sequence[str] = (), *, arch: int = 90, name: str = "kernel.cu") -> bytes:
    """Return the cubin, an ELF file, of CUDA C for one architecture (90 is Hopper); raise CudaCompileError with the log."""
    return compile_text(source, ("-std=c++17", *options), arch, name=name)[0]


def architecture(cubin: bytes) -> int:
    """Return the architecture that a cubin is for; raise ValueError when it is none."""
    if cubin[:4] != b"\x7fELF" or struct.unpack_from("<H", cubin, 18)[0] != CUDA_MACHINE:
        raise ValueError(f"not a cubin: it starts with {cubin[:20]!r}")
    flags: int = struct.unpack_from("<I", cubin, 48)[0]
    return flags >> 8 & 0xFF
