"""Find layers, units, rows and parameters by name or number; an error states the valid range."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError, ShapeError, unknown
from bpengine.explain.trace.layers import LayerTrace
from bpengine.explain.trace.trace import Trace

Element = tuple[str, tuple[int, ...]]


def find_layer(traced: Trace, layer: int | str) -> LayerTrace:
    """Return a layer by number (negative from the end) or place; raise ConfigError with the valid ones."""
    top = [place for place in traced.layers if "." not in place]
    if isinstance(layer, (int, np.integer)) and not isinstance(layer, bool) and -len(top) <= layer < len(top):
        return traced.layers[top[layer]]
    if isinstance(layer, str) and layer in traced.layers:
        return traced.layers[layer]
    inner = [repr(place) for place in traced.layers if "." in place]
    more = f", or inside a Residual {', '.join(inner)}" if inner else ""
    raise ConfigError(f"explain requires layer to be 0 to {len(top) - 1}{more}, got {layer!r}.")


def find_unit(layer: LayerTrace, unit: int) -> int:
    """Return the number of a unit; raise ConfigError with the valid range."""
    if isinstance(unit, (int, np.integer)) and not isinstance(unit, bool) and -layer.units <= unit < layer.units:
        return int(unit) % layer.units
    raise ConfigError(f"layer {layer.place} has the units 0 to {layer.units - 1}, got unit {unit!r}.")


def check_row(rows: int, sample: int) -> int:
    """Return the number of a row; raise ConfigError with the valid range."""
    if isinstance(sample, (int, np.integer)) and not isinstance(sample, bool) and -rows <= sample < rows:
        return int(sample) % rows
    raise ConfigError(f"explain requires sample to be a row from 0 to {rows - 1}, got {sample!r}.")


def find_element(parameters: Mapping[str, HostArray], text: str) -> Element:
    """Return (name, index) of one number of a parameter: "0.weight[2,1]", or "1.bias" when it holds one number only.

    Raises ConfigError with the nearest names, or ShapeError with the valid range.
    """
    match = re.fullmatch(r"([^\[\]]+?)\s*(?:\[([^\[\]]*)\])?", str(text).strip())
    name = match[1] if match else str(text)
    if match is None or name not in parameters:
        raise unknown("parameter", name, parameters)
    shape = parameters[name].shape
    if match[2] is None:
        if parameters[name].size != 1:
            first = ",".join("0" for _ in shape)
            raise ShapeError(f"parameter {name!r} has {shape} numbers; name one of them, such as '{name}[{first}]'.")
        return name, (0,) * len(shape)
    return name, _index(name, match[2], shape)


def _index(name: str, text: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    try:
        index = tuple(int(part) for part in text.split(","))
    except ValueError:
        index = ()
    if len(index) != len(shape) or not all(-n <= i < n for i, n in zip(index, shape, strict=True)):
        ranges = ", ".join(f"0 to {n - 1}" for n in shape)
        raise ShapeError(f"parameter {name!r} requires an index in [{ranges}], got [{text}].")
    return tuple(i % n for i, n in zip(index, shape, strict=True))


def element_name(element: Element) -> str:
    """Return "0.weight[2,1]"."""
    name, index = element
    return f"{name}[{','.join(map(str, index))}]"
