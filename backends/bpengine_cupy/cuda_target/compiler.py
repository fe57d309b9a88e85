"""CUDA C to machine code by NVRTC, which needs no driver and no device; compiled code is kept on disk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bpengine_steps.disk import user_cache

PRELUDE = Path(__file__).with_name("prelude.cuh")
# no contraction, and denormals are zero: then algebra in float32 has the same bits as in NumPy's compiled epochs
OPTIONS = ("-std=c++17", "-ftz=true", "-fmad=false", "--ptxas-options=-v")


class CudaCompileError(Exception):
    """An error message of NVRTC."""


@dataclass(frozen=True)
class Resources:
    """The resources of one kernel: registers of a thread, bytes of shared memory, and bytes spilled to memory."""

    registers: int
    shared: int
    spilled: int


def full_source(source: str) -> str:
    """Return generated text after its common definitions."""
    return PRELUDE.read_text() + source


def compile_cuda(source: str, arch: int = 90, *, ptx: bool = False) -> tuple[bytes, str]:
    """Return generated text as a cubin for one architecture (90 is Hopper), or as PTX, and the compiler's log.

    Raises CudaCompileError with the log.
    """
    return compile_text(full_source(source), OPTIONS, arch, ptx=ptx)


def compile_text(
    text: str, options: Sequence[str], arch: int, *, ptx: bool = False, name: str = "step.cu"
) -> tuple[bytes, str]:
    """Return any CUDA C compiled, and the log, in which it is called `name`; see `compile_cuda`."""
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(text, name, (), ())
    target = f"{'compute' if ptx else 'sm'}_{arch}"
    try:
        nvrtc.compileProgram(program, (f"-arch={target}", *options))
        result: bytes = nvrtc.getPTX(program) if ptx else nvrtc.getCUBIN(program)
        return result, nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError as error:
        raise CudaCompileError(f"{error}\n{nvrtc.getProgramLog(program)}") from None
    finally:
        nvrtc.destroyProgram(program)


def cubin(source: str, arch: int) -> bytes:
    """Return the cubin of generated text, from disk if it was compiled before."""
    key = _key(source, arch)
    binary = user_cache("cuda").get(key)
    if binary is None:
        binary, _ = compile_cuda(source, arch)
        user_cache("cuda").put(key, binary)
    return binary


def compiled_before(source: str, arch: int) -> bool:
    """Tell whether the cubin is on disk."""
    return user_cache("cuda").has(_key(source, arch))


def resources(log: str) -> dict[str, Resources]:
    """Read the resources of each kernel from the compiler's log."""
    by_kernel: dict[str, Resources] = {}
    name, spilled = "", 0
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            name, spilled = match[1], 0
        if match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(match[1]) + int(match[2])
        if name and (match := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            by_kernel[name] = Resources(int(match[1]), int(shared[1]) if shared else 0, spilled)
    return by_kernel


def _key(source: str, arch: int) -> str:
    return f"{_compiler()}{OPTIONS}{arch}{full_source(source)}"


@cache
def _compiler() -> tuple[int, int]:
    from cupy_backends.cuda.libs import nvrtc

    major, minor = nvrtc.getVersion()
    return int(major), int(minor)
