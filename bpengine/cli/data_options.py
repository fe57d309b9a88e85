"""Options for data: FILE_OR_NAME and --target, and the rows they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bpengine import data
from bpengine.cli.whole_numbers import number_or_name
from bpengine.data import Dataset
from bpengine.data.files.npy import expand_home
from bpengine.errors import ConfigError, DataError
from bpengine.losses import Loss
from bpengine.streams import stream
from bpengine.system import hardware

TASKS = {"classes": "classification", "values": "regression"}

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE_OR_NAME",
        help="A file (.csv, .tsv, .npy, .npz, .parquet, IDX; CSV and IDX also .gz) or the name of a set: "
        f"{', '.join(data.names())}.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="What to predict. Tables: a column's name, or its number from 0 (-1 is the last). .npy and IDX: the "
        "file with the targets.  [default: the last column]",
    ),
]


def load(source: str, target: str | None, loss: Loss | None) -> Dataset:
    """Return the data with targets; a loss, if one was named, decides whether a file's targets are classes or values."""
    options: dict[str, Any] = {} if target is None else {"target": column(target)}
    if loss is not None and loss.target in TASKS and source not in data.names():
        options["task"] = TASKS[loss.target]
    return data.load(source, **options)


def column(target: str) -> str | int:
    """Return a column's number where the text is one, else its name."""
    return number_or_name(target, "--target")


def split(whole: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Return the rows to train on and those held out; a fraction of 0 holds out none, and then nothing is copied.

    Raises ConfigError when the copy would not fit into memory, DataError when a side would be empty.
    """
    if fraction == 0:
        return whole, None
    free, size = hardware.memory()["available"], whole.x.nbytes
    if isinstance(whole.x, np.memmap) and free is not None and size > free // 2:
        raise ConfigError(
            f"holding out rows copies the data, {hardware.gib(size)}, into memory, where {hardware.gib(free)} are left. "
            "Pass --test-fraction 0 to train from the file."
        )
    try:
        return whole.split(fraction, seed=seed)
    except DataError as error:
        raise DataError(f"{error} --test-fraction 0 trains on all rows.") from None


def draw_rows(x: np.ndarray, y: np.ndarray, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `rows` rows of inputs and targets, drawn at random, in their order."""
    chosen = np.sort(stream("check rows", seed).permutation(len(x))[:rows])
    return np.asarray(x[chosen]), np.asarray(y[chosen])


def inputs(source: str, target: str | None, *, no_target: bool) -> np.ndarray:
    """Return the inputs alone; of array files no targets are needed."""
    if (
        source in data.names() or not expand_home(Path(source)).exists()
    ):  # `load` says whether the name or the file is wrong
        return load(source, target, None).x
    return data.read_arrays(source, False if no_target else None if target is None else column(target)).x
