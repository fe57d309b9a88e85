"""Model files: safetensors with a JSON header. Written whole or not at all; loading reads arrays and text, no code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bpengine.data.classnames import is_plain
from bpengine.errors import ModelFileError
from bpengine.layers.layer import HostArrays
from bpengine.writing import write_whole

FORMAT = "bpengine model 1"


@dataclass(frozen=True)
class Contents:
    """What a model file holds: the network's description, settings, parameters and running statistics."""

    network: dict[str, Any]
    settings: dict[str, Any]
    params: HostArrays
    running: HostArrays


def write(path: str | os.PathLike[str], contents: Contents) -> None:
    """Write a model file; a file that was there stays as it was until the new one is complete.

    Raises ModelFileError when the folder does not exist or cannot be written to.
    """
    from safetensors.numpy import save

    arrays = {f"params/{n}": a for n, a in contents.params.items()} | {
        f"running/{n}": a for n, a in contents.running.items()
    }
    header = {"format": FORMAT, "network": json.dumps(contents.network), "settings": json.dumps(contents.settings)}
    data = save({name: array.copy(order="C") for name, array in arrays.items()}, metadata=header)
    write_whole(path, data, error=ModelFileError)


def read(path: str | os.PathLike[str]) -> Contents:
    """Read a model file.

    Raises ModelFileError when it is missing, truncated, corrupt, or no model file of this format.
    """
    from safetensors import SafetensorError, safe_open

    shown = repr(str(path))
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            header = file.metadata() or {}
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise ModelFileError(f"there is no model file {shown}.") from None
    except (
        SafetensorError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:  # the last two: dtypes NumPy lacks
        raise ModelFileError(
            f"the model file {shown} is corrupt or truncated: {error}. Save the model again."
        ) from None
    if header.get("format") != FORMAT:
        raise ModelFileError(f"{shown} is not a file of the format {FORMAT!r}, got {header.get('format')!r}.")
    try:
        network, settings = json.loads(header["network"]), json.loads(header["settings"])
        _check_settings(network, settings)
    except (KeyError, ValueError, RecursionError) as error:
        raise ModelFileError(f"the header of the model file {shown} is damaged: {error}.") from None
    return Contents(network, settings, _under("params/", arrays), _under("running/", arrays))


def _check_settings(network: Any, settings: Any) -> None:
    if not isinstance(network, dict) or not isinstance(settings, dict):
        raise ValueError("network and settings must be objects")
    if settings.get("dtype") not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {settings.get('dtype')!r}")
    for name in ("seed", "fits"):
        value = settings.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} must be a whole number of at least 0, got {value!r}")
    names = settings.get("class_names")
    if names is not None and not (isinstance(names, list) and all(map(is_plain, names))):
        raise ValueError(f"class_names must be a list of text and finite numbers, got {names!r}")


def check_arrays(path: str | os.PathLike[str], kind: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise ModelFileError when a file's arrays are not those that the network has, by name and shape."""
    for name in [*wanted, *(n for n in found if n not in wanted)]:
        here = wanted[name].shape if name in wanted else None
        there = found[name].shape if name in found else None
        if here != there:
            raise ModelFileError(
                f"the model file {str(path)!r} does not fit the network: {kind} {name!r} has the shape {here} in the network "
                f"and {there} in the file (None: it is not there)."
            )


def _under(prefix: str, arrays: HostArrays) -> HostArrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
