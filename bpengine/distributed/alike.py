"""Comparisons between processes: facts that must be equal before the first step, circumstances that should be, and states."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from bpengine.distributed.comm import Comm, HostArray
from bpengine.errors import BpError, ConfigError, in_english
from bpengine.i18n.language import localized

SHOWN: Final = 80  # characters of a value in a message


def digest_of(arrays: Mapping[str, HostArray]) -> bytes:
    """Return a SHA-256 of named arrays, to the bit."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def require_alike(comm: Comm, facts: Mapping[str, Any]) -> None:
    """Raise ConfigError, on all processes, where a fact of one differs from that of process 0; facts are JSON values."""
    different = _different(comm, facts)
    if different is not None:
        rank, name, theirs, ours = different
        raise ConfigError(
            f"processes that train together require the same {name}, got another one on process {rank} than on process 0: "
            f"{theirs}, not {ours}. Start all of them with the same files and options."
        )


def warn_unlike(comm: Comm, facts: Mapping[str, Any]) -> None:
    """Warn, on process 0, where another process has different versions, processors or numbers of threads."""
    different = _different(comm, facts)
    if different is not None and comm.rank == 0:
        rank, name, theirs, ours = different
        warnings.warn(
            localized(
                f"process {rank} computes under another {name} than process 0: {theirs}, not {ours}. The last bits depend on "
                "which of them computes a shard: they repeat with the same placement only."
            ),
            stacklevel=2,
        )


def compare_states(comm: Comm, digest: bytes, step: int) -> None:
    """Raise BpError, on all processes, where the state of one differs from that of process 0 after `step` steps.

    digest: a hash of the state, see `digest_of`. All processes call it before a state is written to disk.
    """
    everyones = [d.tobytes() for d in comm.gather(np.frombuffer(digest, np.uint8))]
    others = [rank for rank, other in enumerate(everyones) if other != everyones[0]]
    if others:
        raise BpError(
            f"training on several processes requires the same state on all, got another one on processes {others} than on "
            f"process 0 after step {step}. Nothing was saved since. A layer, a loss or a schedule of one's own that depends "
            "on more than its arguments does that, and so does failing memory."
        )


def said_by_first(comm: Comm, text: Callable[[], str]) -> str:
    """Return process 0's text on all processes; raise its BpError on all of them."""
    said, problem = None, None
    if comm.rank == 0:
        try:
            said = text()
        except BpError as error:
            problem = in_english(error)
    if problem := comm.first(problem):
        raise BpError(problem)
    return comm.first(said) or ""


def _different(comm: Comm, facts: Mapping[str, Any]) -> tuple[int, str, str, str] | None:
    """Return (rank, fact, its value there, process 0's) of the first difference."""
    texts = comm.gather(np.frombuffer(json.dumps(dict(facts)).encode(), np.uint8))
    everyones = [dict(_leaves(json.loads(text.tobytes()))) for text in texts]
    for rank, other in enumerate(everyones):
        for name in {**everyones[0], **other}:
            ours, theirs = everyones[0].get(name), other.get(name)
            if ours != theirs:
                return rank, name, _shown(theirs), _shown(ours)
    return None


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every value in nested dicts and lists: "plan.clip_norm", "data[0]"."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]")
    else:
        yield path, value


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} ... {text[-SHOWN // 2 :]}"
