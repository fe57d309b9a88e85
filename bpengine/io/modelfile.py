"""Model files: safetensors with a JSON header. Writing is atomic; loading reads arrays and text, and runs no code.

A file is validated before anything is built from it: header, settings, description, then the shapes that the described
network has against those of the file's arrays. Only then are the arrays read and their numbers checked. What `write`
writes has passed the same validation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine.data.validation.class_names import is_plain
from bpengine.errors import BpError, ModelFileError, check_path, in_english
from bpengine.io import container
from bpengine.io.descriptions import build
from bpengine.io.own import Own
from bpengine.io.text import one_line
from bpengine.layers import Layer, Shapes, initializers
from bpengine.layers.chain import never_negative
from bpengine.layers.layer import ArrayShapes, HostArrays
from bpengine.network import Network
from bpengine.output.writing import replacing

FORMAT = "bpengine model 1"


@dataclass(frozen=True)
class Contents:
    """What a model file holds: the network's description, settings, parameters and running statistics, which `layers` have."""

    network: dict[str, Any]
    settings: dict[str, Any]
    params: HostArrays
    running: HostArrays
    layers: Sequence[Layer] = ()


def write(path: str | os.PathLike[str], contents: Contents) -> None:
    """Write a model file; an existing file stays unchanged until the new one is complete.

    Raises ModelFileError when it cannot be written, and for a model that could not be loaded again: one with invalid numbers,
    or with a description beyond the limits of loading.
    """
    arrays = {f"params/{n}": a for n, a in contents.params.items()} | {
        f"running/{n}": a for n, a in contents.running.items()
    }
    for name, array in arrays.items():
        _require_possible(f"cannot write {str(path)!r}", name, array, contents.layers)
    try:
        texts = {"network": json.dumps(contents.network), "settings": json.dumps(contents.settings)}
        header, names = container.header_of(arrays, {"format": FORMAT, **texts})
        _require_readable(header, texts)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"cannot write {str(path)!r}: the model could not be loaded again: {in_english(error)}. Nothing was changed."
        ) from None
    with replacing(path, error=ModelFileError) as (draft,):
        draft.write(header)
        for name in names:
            draft.write(container.bytes_of(arrays[name]))


def _require_readable(header: bytes, texts: Mapping[str, str]) -> None:
    length = len(header) - container.LENGTH_BYTES
    if length > container.HEADER_BYTES:
        raise ValueError(f"its header is of {length:,} bytes, at most {container.HEADER_BYTES:,} are read")
    container.judged_header(header[container.LENGTH_BYTES :])
    for name in texts:
        container.read_json(texts, name)


@dataclass(frozen=True)
class ModelFile:
    """An open model file: its description and settings are validated, its arrays not yet read."""

    path: str
    network: dict[str, Any]
    settings: dict[str, Any]
    inside: container.Container

    def build(self, own: Own) -> tuple[Network, Shapes]:
        """Return the network that is described, and the shapes of its arrays.

        `own` is custom code by name. Raises ModelFileError, whatever a class raises for the file's settings.
        """
        values = sum(entry.end - entry.begin for entry in self.inside.entries.values()) // 4
        with self.judged("describes a network that cannot be built"):
            network = build(self.network, own, values)
            # its values are not in the file
            zeros = replace(own, layers={**own.layers, "Explicit": initializers.Zeros})
            shapes = build(self.network, zeros, values).shapes()
            if not isinstance(network, Network):
                raise ModelFileError(f"it describes a {type(network).__name__} where a Network is wanted.")
        return network, shapes

    @contextmanager
    def judged(self, what: str) -> Iterator[None]:
        """Turn any exception in the block into a ModelFileError that names the file and the fault."""
        try:
            yield
        except Exception as error:
            said = in_english(error) if isinstance(error, BpError) else f"{type(error).__name__}: {error}"
            raise ModelFileError(f"the model file {self.path!r} {what}: {one_line(said)}") from (
                None if isinstance(error, (BpError, MemoryError, RecursionError)) else error
            )

    def arrays(self, wanted: Shapes, layers: Sequence[Layer]) -> tuple[HostArrays, HostArrays]:
        """Return parameters and running statistics in the required order, after checking names and shapes.

        Raises ModelFileError for other names or shapes, for numbers that are not finite, and for a negative variance.
        """
        entries, every = self.inside.entries, (("params/", wanted.params), ("running/", wanted.running))
        for start, shapes in every:
            stored = {n.removeprefix(start): entry.shape for n, entry in entries.items() if n.startswith(start)}
            check_shapes(self.path, KINDS[start], shapes, stored)
        params, running = ({n: self._array(start + n, layers) for n in shapes} for start, shapes in every)
        return params, running

    def _array(self, name: str, layers: Sequence[Layer]) -> np.ndarray[Any, Any]:
        try:
            array = self.inside.read(name)
        except MemoryError:
            raise ModelFileError(f"the model file {self.path!r} cannot be loaded: there is no memory for it.") from None
        except (OSError, ValueError) as error:
            raise container.damaged(self.path, error) from None
        _require_possible(f"the model file {self.path!r} cannot be loaded", name, array, layers)
        return array


KINDS = {"params/": "parameter", "running/": "running statistic"}


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[ModelFile]:
    """Open a model file and validate everything except its arrays' numbers.

    Raises ModelFileError when it is missing, truncated, corrupt, or not a model file of this format.
    """
    check_path(path, "load")
    with container.opened(path, FORMAT) as inside:
        try:
            network, settings = (container.read_json(inside.texts, name) for name in ("network", "settings"))
            _check_settings(network, settings)
            _check_entries(inside.entries, settings["dtype"])
        except ValueError as error:
            raise ModelFileError(f"the header of the model file {str(path)!r} is damaged: {error}.") from None
        yield ModelFile(str(path), network, settings, inside)


def _check_settings(network: object, settings: object) -> None:
    if not isinstance(network, dict) or not isinstance(settings, dict):
        raise ValueError("network and settings must be objects")
    if settings.get("dtype") not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {_short(settings.get('dtype'))}")
    for name in ("seed", "fits"):
        value = settings.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} must be a whole number of at least 0, got {_short(value)}")
    names = settings.get("class_names")
    if names is not None and not (isinstance(names, list) and all(map(is_plain, names))):
        raise ValueError(f"class_names must be a list of text and finite numbers, got {_short(names)}")


def _check_entries(entries: Mapping[str, container.Entry], dtype: str) -> None:
    for name, entry in entries.items():
        if not name.startswith(tuple(KINDS)):
            raise ValueError(f"the array {_short(name)} is neither a parameter nor a running statistic")
        if entry.dtype != dtype:
            raise ValueError(f"the array {_short(name)} is of the dtype {entry.dtype}, the model's is {dtype}")


def check_shapes(path: str | os.PathLike[str], kind: str, wanted: ArrayShapes, stored: ArrayShapes) -> None:
    """Raise ModelFileError when a file's arrays differ from the network's, by name or shape."""
    for name in [*wanted, *(n for n in stored if n not in wanted)]:
        here, there = wanted.get(name), stored.get(name)
        if here != there:
            raise ModelFileError(
                f"the model file {str(path)!r} does not fit the network: {kind} {_short(name)} has the shape {here} in the "
                f"network and {there} in the file (None: it is not there)."
            )


def _require_possible(what: str, name: str, array: np.ndarray[Any, Any], layers: Sequence[Layer]) -> None:
    """Raise ModelFileError for numbers that are not finite, or negative where training cannot make them negative."""
    _require(np.isfinite(array), f"{what}: {_kind(name)} requires finite numbers", array)
    if name.startswith("running/") and never_negative(layers, name.removeprefix("running/")):
        _require(array >= 0, f"{what}: {_kind(name)} requires numbers of at least 0", array)


def _require(possible: np.ndarray[Any, Any], what: str, array: np.ndarray[Any, Any]) -> None:
    if not possible.all():
        where = [int(i) for i in np.unravel_index(int(np.argmin(possible)), array.shape)]
        raise ModelFileError(f"{what}, got {array[tuple(where)]} at {where}.")


def _kind(name: str) -> str:
    """Return "parameter '0.weight'" for "params/0.weight"."""
    start = name[: name.index("/") + 1]
    return f"{KINDS[start]} {_short(name.removeprefix(start))}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]} ..."
