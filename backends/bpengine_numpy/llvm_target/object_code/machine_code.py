"""Machine code: the stored form of a compiled text, and the processor for which it is made."""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple, TypeAlias

import llvmlite.binding as llvm

TargetMachine: TypeAlias = Any  # of llvmlite, which has no type annotations
_LENGTH = struct.Struct("<Q")


class Code(NamedTuple):
    """Machine code: the names of its functions, the names of the functions that it calls, and the object file."""

    symbols: tuple[str, ...]
    needs: tuple[str, ...]
    binary: bytes

    def packed(self) -> bytes:
        """Return its stored form."""
        about = json.dumps({"symbols": self.symbols, "needs": self.needs}).encode()
        return _LENGTH.pack(len(about)) + about + self.binary

    @classmethod
    def unpacked(cls, content: bytes) -> Code:
        """Return the code from its stored form."""
        (length,) = _LENGTH.unpack_from(content)
        about = json.loads(content[_LENGTH.size : _LENGTH.size + length])
        return cls(tuple(about["symbols"]), tuple(about["needs"]), content[_LENGTH.size + length :])


def target_machine() -> TargetMachine:
    """Return LLVM's description of this processor, with the settings for just-in-time code."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    relocation = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=features(),
        opt=3,
        reloc=relocation,
        codemodel="jitdefault",
        jit=True,
    )


def features() -> str:
    """Return the features of this processor, "" where LLVM does not know them."""
    try:
        return str(llvm.get_host_cpu_features().flatten())
    except RuntimeError:
        return ""
