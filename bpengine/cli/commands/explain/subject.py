"""The subject of `bpengine explain`: a model and rows, made from names, sizes and options; the values of a sweep."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.cli import data_options, network_options
from bpengine.cli.commands.explain.network_details import NetworkDetails
from bpengine.cli.size_limits import require_points
from bpengine.cli.table_options.text_format import TextFormat
from bpengine.cli.whole_numbers import whole
from bpengine.data import Dataset, Table
from bpengine.errors import ConfigError


class Subject(NamedTuple):
    """The subject of an explanation: a model, the rows of the batch, and their data set."""

    model: bp.Model
    x: Table | HostArray
    y: HostArray
    data: Dataset


def make_subject(
    names: list[str], *, target: str | None, layers: str, activation: str, loss: str | None, backend: str, dtype: str,
    rows: int, seed: int, written: TextFormat, details: NetworkDetails,
) -> Subject:  # fmt: skip
    """Return the model and the rows to explain; `names` are those of the network, if one is given, and of the rows.

    Raises ConfigError for no name or more than two.
    """
    _require_names(names)
    named, options = bp.Loss(loss) if loss is not None else None, written.options_for(names[-1])
    if len(names) == 2 and not _is_sizes(names[0]):
        details.require_fresh(names[0])
        model = bp.load(names[0], backend)
        data = data_options.load_for(model, names[1], target, options)
        x, y = data_options.for_model(model, data)
    else:
        data = data_options.load(names[-1], target, named, options=options)
        sizes = names[0] if len(names) == 2 else None
        network = _fresh(data, sizes, layers, activation, named, details)
        model, x, y = network_options.model(network, backend, dtype, seed), data.x, data.y
    details.set_parameters(model)
    return Subject(model, x[:rows], y[:rows], data)


def _require_names(names: list[str]) -> None:
    if not 1 <= len(names) <= 2:
        raise ConfigError(
            f"explain requires [NET|MODEL] FILE_OR_NAME, got {len(names)} names{': ' if names else ''}{' '.join(names)}. "
            "For example: bpengine explain 2-3-1 --data xor."
        )
    if _is_sizes(names[-1]):
        raise ConfigError(
            f"explain requires rows beside the sizes of a network, got {names[-1]} alone. For example: bpengine explain "
            f"{names[-1]} --data xor."
        )


def _fresh(
    data: Dataset, sizes: str | None, layers: str, activation: str, loss: bp.Loss | None, details: NetworkDetails
) -> bp.Network:
    """Return an untrained network, of the sizes "2-3-1" where they are given.

    Raises ConfigError when data and loss require other sizes.
    """
    numbers = None if sizes is None else [whole(part, "the network's sizes") for part in sizes.split("-")]
    units = layers if numbers is None else ",".join(map(str, numbers[1:-1]))
    network = network_options.network(
        data, network_options.hidden_layers(units, activation, 0.0, bias=details.bias),
        network_options.last_layer(data, loss, details.output_activation),
        l1=details.l1, l2=details.l2, bias=details.bias,
    )  # fmt: skip
    if numbers is not None and network.sizes != numbers:
        wanted = "-".join(map(str, network.sizes))
        raise ConfigError(f"{data.name} with {network.loss.name} requires the sizes {wanted}, got {sizes}.")
    return network


def _is_sizes(text: str) -> bool:
    return "-" in text and all(part.isdecimal() for part in text.split("-"))


def swept(texts: list[str]) -> tuple[list[str], list[HostArray]]:
    """Return the parameters and their values from "1.bias=0,1,2" or "1.bias=FROM:TO:COUNT"."""
    names, values = [], []
    for text in texts:
        name, sign, numbers = text.rpartition("=")
        if not sign:
            raise ConfigError(f"--sweep requires NAME=VALUES, such as 1.bias=0:3:13, got {text!r}.")
        names.append(name)
        values.append(_numbers(numbers, text))
    require_points([len(points) for points in values])
    return names, values


def _numbers(text: str, option: str) -> HostArray:
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
            f"--sweep requires values as 0,1,2 or FROM:TO:COUNT with a COUNT of at least 1, got {option!r}."
        ) from None
