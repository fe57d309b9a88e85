"""Identity: what distinguishes the fit of a checkpoint from others; and circumstances, which may change its last bits."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np

from bpengine import io
from bpengine.backend import Backend, HostArray
from bpengine.errors import ModelFileError
from bpengine.network import Network
from bpengine.training.schedules import Schedule

BLOCKS: Final = 256  # blocks of an array that are read, spread over all of it
BLOCK_BYTES: Final = 4096
# the steps whose rates tell schedules apart; np.unique would load NumPy's masked arrays
STEPS: Final = np.array(sorted({int(step) - 1 for step in np.geomspace(1, 10**7, 64)}), np.int64)


def network_identity(network: Network, shapes: Mapping[str, tuple[int, ...]]) -> object:
    """Return the description of a network, or the shapes of its parameters where a model file could not hold it."""
    try:
        return io.describe(network)
    except ModelFileError:
        return {"sizes": list(network.sizes), "parameters": {name: list(shape) for name, shape in shapes.items()}}


def fingerprint(array: HostArray) -> str:
    """Return a short text that differs for arrays that differ: in shape, dtype, or one of `BLOCKS` blocks of 4 KB.

    An array of at most 1 MB is read whole; of a file of any size, 1 MB is read.
    """
    digest = hashlib.sha256(repr((array.shape, array.dtype.str)).encode())
    rows = len(array) if array.ndim else 0
    if not rows or array.nbytes <= BLOCKS * BLOCK_BYTES:
        digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:32]
    count = max(1, BLOCK_BYTES * rows // array.nbytes)
    for start in np.linspace(0, rows - count, BLOCKS).astype(np.int64):
        digest.update(np.ascontiguousarray(array[start : start + count]).tobytes())
    return digest.hexdigest()[:32]


def described(value: object) -> object:
    """Return a setting as JSON values that are equal for equal settings in every process."""
    if isinstance(value, Schedule):
        rates = np.asarray(value(STEPS), dtype=np.float64)
        return {"type": type(value).__name__, "rates": hashlib.sha256(rates.tobytes()).hexdigest()[:32]}
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__} | {f.name: described(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        return fingerprint(value)
    if isinstance(value, Mapping):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return [described(item) for item in value]
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float):
        return plain.hex()
    return plain if plain is None or isinstance(plain, (bool, int, str)) else type(plain).__qualname__


def circumstances(backend: Backend) -> dict[str, Any]:
    """Return the versions and settings under which the same fit gives the same bits."""
    from importlib.metadata import version  # not at the top: it takes longer to load than all of training

    from bpengine.system import blas  # asks threadpoolctl, which only runs with checkpoints and several processes need

    library = blas.library()
    return {
        "bpengine": version("bpengine"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "blas": {name: library[name] for name in ("name", "version", "kernel", "threads")},
        **backend.circumstances(),
    }


def first_difference(here: object, there: object, where: str = "") -> str | None:
    """Name the first place where two identities differ: "fit.batch is 128 here and 256 in the checkpoint"; or None."""
    if where == "fit.metrics" and here != there:
        return f"the metrics of its validation rows are {_listed(here)} here and {_listed(there)} in the checkpoint"
    if isinstance(here, dict) and isinstance(there, dict):
        names = [*here, *(name for name in there if name not in here)]
        parts = ((here.get(name), there.get(name), f"{where}.{name}" if where else name) for name in names)
        return next((different for part in parts if (different := first_difference(*part))), None)
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        parts = ((a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(here, there, strict=True)))
        return next((different for part in parts if (different := first_difference(*part))), None)
    return None if here == there else f"{where} is {_short(here)} here and {_short(there)} in the checkpoint"


def _listed(metrics: object) -> str:
    return ", ".join(map(str, metrics)) if isinstance(metrics, Mapping) and metrics else "none"


def _short(value: object) -> str:
    shown = _plain(value) if isinstance(value, str) else repr(value)
    return io.one_line(shown, 80)


def _plain(text: str) -> str:
    """Return the float that a hexadecimal text stands for in decimal form, and other text in quotes."""
    try:
        return f"{float.fromhex(text):g}" if text.startswith(("0x", "-0x")) else repr(text)
    except ValueError:
        return repr(text)
