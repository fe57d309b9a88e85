"""Names of classes, kept among the settings of a model file, where a file from elsewhere may have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import bpengine as bp
from bpengine import io
from bpengine.data import Dataset
from bpengine.errors import DataError

SETTING = "class_names"


def save(model: bp.Model, path: Path, names: tuple[str, ...] | None) -> None:
    """Save a model, with the names of its classes when there are any."""
    model.save(path)
    if names is not None:
        contents = io.read(path)
        io.write(path, replace(contents, settings={**contents.settings, SETTING: list(names)}))


def of_file(path: Path, classes: int) -> tuple[str, ...] | None:
    """Return the names kept in a model file, or None when there are none that fit."""
    kept = io.read(path).settings.get(SETTING)
    return tuple(map(str, kept)) if isinstance(kept, list) and len(kept) == classes else None


def renumbered(data: Dataset, names: tuple[str, ...] | None) -> np.ndarray:
    """Return the targets in the model's own class numbers; a file numbers its classes by those that occur in it.

    Raises DataError for a class that the model does not know.
    """
    if names is None or data.class_names is None or data.class_names == names:
        return data.y
    strange = [name for name in data.class_names if name not in names]
    if strange:
        raise DataError(
            f"{data.name} has the class {strange[0]!r}, which the model does not know. It knows: {', '.join(names)}."
        )
    return np.array([names.index(name) for name in data.class_names])[data.y]
