"""What `bpengine explain` makes of its options: a network from sizes, a sweep from text."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import bpengine as bp
from bpengine.cli import network_options
from bpengine.cli.size_limits import require_points
from bpengine.cli.whole_numbers import whole
from bpengine.data import Dataset
from bpengine.errors import ConfigError


class Subject(NamedTuple):
    """What is explained: a model, the rows of the batch, and the data they are from."""

    model: bp.Model
    x: Any
    y: Any
    data: Dataset


def fresh(data: Dataset, sizes: str | None, layers: str, activation: str, loss: bp.Loss | None) -> bp.Network:
    """Return a network that is not trained: of the given sizes ("2-3-1"), or with the given hidden layers."""
    if sizes is None:
        return network_options.network(data, network_options.hidden_layers(layers, activation, 0.0), loss, 0.0)
    numbers = [whole(part, "the network's sizes") for part in sizes.split("-")]
    hidden = ",".join(str(n) for n in numbers[1:-1])
    network = network_options.network(data, network_options.hidden_layers(hidden, activation, 0.0), loss, 0.0)
    if network.sizes != numbers:
        wanted = "-".join(map(str, network.sizes))
        raise ConfigError(f"{data.name} with {network.loss.name} requires the sizes {wanted}, got {sizes}.")
    return network


def swept(texts: list[str]) -> tuple[list[str], list[np.ndarray[Any, Any]]]:
    """Return the parameters and their values from "1.bias=0,1,2" or "1.bias=FROM:TO:COUNT"."""
    names, values = [], []
    for text in texts:
        name, sign, numbers = text.rpartition("=")
        if not sign:
            raise ConfigError(f"--sweep requires NAME=VALUES, such as 1.bias=0:3:13, got {text!r}.")
        names.append(name)
        values.append(_numbers(numbers, text))
    require_points([len(found) for found in values])
    return names, values


def _numbers(text: str, given: str) -> np.ndarray[Any, Any]:
    try:
        if ":" in text:
            first, last, count = text.split(":")
            points = whole(count, "the COUNT of --sweep")
            if points < 1:
                raise ValueError
            require_points([points])
            return np.linspace(float(first), float(last), points)
        return np.array([float(part) for part in text.split(",")])
    except ConfigError:
        raise
    except ValueError:
        raise ConfigError(
            f"--sweep requires values as 0,1,2 or FROM:TO:COUNT with a COUNT of at least 1, got {given!r}."
        ) from None
