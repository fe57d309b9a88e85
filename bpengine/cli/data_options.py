"""Options for data, FILE_OR_NAME and --target, and the rows that they select."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bpengine import data
from bpengine.backend import HostArray
from bpengine.cli.class_names import renumbered
from bpengine.cli.table_options.trained_reading import read_as_trained
from bpengine.cli.whole_numbers import number_or_name
from bpengine.data import Dataset, Features
from bpengine.data.files.table_files import is_table
from bpengine.data.named.real import REAL
from bpengine.data.validation.reading import expand_home
from bpengine.errors import DataError, ShapeError
from bpengine.losses import Loss
from bpengine.model import Model
from bpengine.streams import stream

STANDARDIZED = tuple(name for name, kind in REAL.items() if "standardize" in signature(kind).parameters)
TASKS = {"classes": "classification", "values": "regression"}

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE_OR_NAME",
        help="A file (CSV and other tables of text, compressed or not; Parquet, .npy, .npz, IDX), a folder that convert "
        "wrote, - for standard input, or the name of a set: "
        f"{', '.join(data.names())}.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="What to predict. Tables: a column's name, or its number from 0 (-1 is the last), or names a,b. .npy and IDX: "
        "the file with the targets.  [default: the last column]",
    ),
]


def load(
    source: str,
    target: str | None,
    loss: Loss | None,
    *,
    task: str | None = None,
    raw: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Dataset:
    """Return the data with targets; a loss, if one was named, decides whether a file's targets are classes or values.

    raw: whether tables are returned unchanged, and not as the numbers that a network without Features takes; rows without a
    target are then left out. options: those of a text file.
    """
    wanted: dict[str, Any] = {**(options or {})}
    if target is not None:
        wanted["target"] = column(target)
    if source in data.names():
        return data.load(source, **wanted, **({"standardize": False} if raw and source in STANDARDIZED else {}))
    by_loss = TASKS.get(loss.target) if loss is not None else None
    if task is not None or by_loss is not None:
        wanted["task"] = task or by_loss
    if raw:
        return data.load(source, drop_empty=True, **wanted)
    return numbers(data.load(source, **wanted))


def load_for(
    model: Model, source: str, target: str | None, options: Mapping[str, Any], *, task: str | None = None
) -> Dataset:
    """Return the data with targets for a trained model; for a model with Features a table's columns are unchanged.

    Files are read with the options of the training file, unless given options or the file itself contradict them.
    """
    features, loss = model.features, model.network.loss

    def read(chosen: Mapping[str, Any]) -> Dataset:
        return load(source, target, loss, task=task, raw=features is not None, options=chosen)

    if features is None or source in data.names():
        return read(options)
    return read_as_trained(features, source, options, read)


def numbers(dataset: Dataset) -> Dataset:
    """Return a data set whose inputs are numbers; columns of other kinds are encoded as `train` encodes them."""
    if not isinstance(dataset.x, data.Table):
        return dataset
    features = Features(scale_target=False).fit(dataset)
    return replace(dataset, x=features.transform(dataset.x, "float64"), feature_names=features.input_names)


def for_model(model: Model, dataset: Dataset) -> tuple[data.Table | HostArray, HostArray]:
    """Return inputs and targets for a model's methods: tables and classes by name where it has Features."""
    if model.features is not None:
        return dataset.table, dataset.labels
    return dataset.x, renumbered(dataset, model.class_names)


def column(target: str) -> str | int:
    """Return a column's number if the text is a number, else its name."""
    return number_or_name(target, "--target")


def draw_rows(
    x: data.Table | HostArray, y: HostArray, rows: int, seed: int
) -> tuple[data.Table | HostArray, HostArray]:
    """Return at most `rows` rows of inputs and targets, drawn at random, in their original order."""
    chosen = np.sort(stream("check rows", seed).permutation(len(x))[:rows])
    return x[chosen] if isinstance(x, data.Table) else np.asarray(x[chosen]), np.asarray(y[chosen])


def inputs(source: str, target: str | None, *, no_target: bool, options: Mapping[str, Any]) -> HostArray:
    """Return the inputs alone, as numbers; of array files no targets are needed."""
    if source in data.names() or not is_there(source):  # the error of `load` says whether the name or the file is wrong
        return np.asarray(load(source, target, None).x)
    chosen = False if no_target else None if target is None else column(target)
    x = data.read_arrays(source, chosen, **options).x
    return x.matrix() if isinstance(x, data.Table) else np.asarray(x)


def rows_for_features(features: Features, source: str, options: Mapping[str, Any]) -> data.Table:
    """Return all columns of a source as a table; Features use the columns that they know.

    Files are read with the options of the training file, unless given options or the file itself contradict them.
    """
    if source in data.names():
        return _all_columns(source, options)
    return read_as_trained(features, source, options, lambda chosen: _all_columns(source, chosen))


def _all_columns(source: str, options: Mapping[str, Any]) -> data.Table:
    if source in data.names() or not is_there(source):
        return load(source, None, None, raw=True, options=options).table
    dataset = (
        data.read_arrays(source, False, **options)
        if not source.lower().endswith(".npz")
        else _inputs_of(source, options)
    )
    names = dataset.feature_names or tuple(f"x{at}" for at in range(dataset.x.shape[1]))
    return (
        dataset.x if isinstance(dataset.x, data.Table) else data.Table.of_matrix(dataset.x, names, named=dataset.named)
    )


def _inputs_of(source: str, options: Mapping[str, Any]) -> data.Arrays:
    """Return the inputs of an archive, which need not have targets."""
    keys = tuple(options.get("keys", ("x",)))[:1]
    return data.read_arrays(source, **{**options, "keys": keys})


def is_there(source: str) -> bool:
    """Return whether a source is a file, a converted table or standard input."""
    return is_table(Path(source)) or expand_home(Path(source)).exists()


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Add the name of the source to every error about rows within the block."""
    try:
        yield
    except (DataError, ShapeError) as error:
        raise error if Path(source).name in str(error) else type(error)(f"{source}: {error}") from None
