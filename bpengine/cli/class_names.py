"""Names of classes: those of a model, and those of data that may number them otherwise."""

from __future__ import annotations

import numpy as np

from bpengine.data import Dataset
from bpengine.data.validation.class_names import ClassName, name_text
from bpengine.errors import DataError


def renumbered(data: Dataset, names: tuple[ClassName, ...] | None) -> np.ndarray:
    """Return the targets in the model's own class numbers; a file numbers its classes by those that occur in it.

    Raises DataError for a class that the model does not know.
    """
    if names is None or data.class_names is None:
        return data.y
    known = tuple(map(name_text, names))
    if data.class_names == known:
        return data.y
    strange = [name for name in data.class_names if name not in known]
    if strange:
        raise DataError(
            f"{data.name} has the class {strange[0]!r}, which the model does not know. It knows: {', '.join(known)}."
        )
    return np.array([known.index(name) for name in data.class_names])[data.y]
