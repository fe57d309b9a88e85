"""One checkpoint as one safetensors file, whole or not at all. Every byte of it is covered by a SHA-256.

The header names the SHA-256 of each array; that of the header itself is the last array of the file. Reading a file checks all
of them, so a flipped byte or a missing end is found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ModelFileError, WriteError, in_english
from bpengine.io import container
from bpengine.output.writing import replacing

FORMAT: Final = "bpengine checkpoint 1"
SEAL: Final = "header.sha256"  # the last array: of one byte each, so it sorts behind all others
WHOLE: Final = MappingProxyType({"U32": "uint32", "I64": "int64", "I32": "int32", "U8": "uint8", "BOOL": "bool"})
DTYPES: Final = MappingProxyType({**container.DTYPES, **WHOLE})


@dataclass(frozen=True, kw_only=True)
class CheckpointContents:
    """What a checkpoint holds: arrays by name, and facts, identity and circumstances as JSON values."""

    step: int
    arrays: Mapping[str, HostArray]
    facts: dict[str, Any]
    identity: dict[str, Any]
    circumstances: dict[str, Any]


class DamagedCheckpoint(ModelFileError):
    """A checkpoint whose bytes are not those that were written."""


def write(path: Path, checkpoint: CheckpointContents) -> None:
    """Write a file and flush it to the disk; raise WriteError on failure, with nothing changed."""
    arrays = {name: np.asarray(array) for name, array in checkpoint.arrays.items()}
    digests = {name: hashlib.sha256(container.bytes_of(array)).hexdigest() for name, array in arrays.items()}
    parts = {
        "step": checkpoint.step, "facts": checkpoint.facts, "identity": checkpoint.identity,
        "circumstances": checkpoint.circumstances, "digests": digests,
    }  # fmt: skip
    texts = {"format": FORMAT} | {name: json.dumps(part) for name, part in parts.items()}
    sealed = arrays | {SEAL: np.zeros(hashlib.sha256().digest_size, np.uint8)}
    header, names = container.header_of(sealed, texts, DTYPES)
    sealed[SEAL] = np.frombuffer(hashlib.sha256(header).digest(), np.uint8)
    with replacing(path, error=WriteError) as (draft,):
        draft.write(header)
        for name in names:
            draft.write(container.bytes_of(sealed[name]))


def read(path: str | os.PathLike[str]) -> CheckpointContents:
    """Return a checkpoint; raise DamagedCheckpoint for a file that is damaged, truncated or of another format."""
    try:
        with container.opened(path, FORMAT, DTYPES) as file:
            return _read(file)
    except (ModelFileError, ValueError, KeyError, OSError, MemoryError) as error:
        raise DamagedCheckpoint(f"the checkpoint {str(path)!r} is damaged: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else in_english(error) or type(error).__name__


def _read(file: container.Container) -> CheckpointContents:
    seal = file.read(SEAL)
    file.file.seek(0)
    if hashlib.sha256(file.file.read(file.start)).digest() != seal.tobytes():
        raise ValueError("its header is not as it was written")
    parts = {name: container.read_json(file.texts, name) for name in ("step", "facts", "identity", "circumstances")}
    digests = container.read_json(file.texts, "digests")
    arrays = {name: file.read(name) for name in file.entries if name != SEAL}
    for name, array in arrays.items():
        if hashlib.sha256(container.bytes_of(array)).hexdigest() != digests[name]:
            raise ValueError(f"the array {name!r} is not as it was written")
    return CheckpointContents(arrays=arrays, **parts)


__all__ = ["CheckpointContents", "DamagedCheckpoint", "read", "write"]
