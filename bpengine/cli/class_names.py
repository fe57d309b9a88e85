"""Class numbers of data translated into those of a model, by the names of the classes."""

from __future__ import annotations

import numpy as np

from bpengine.data import Dataset
from bpengine.data.validation.class_names import ClassName, name_text
from bpengine.errors import DataError


def renumbered(data: Dataset, names: tuple[ClassName, ...] | None) -> np.ndarray:
    """Return the targets in the model's class numbers; a file numbers only the classes that occur in it.

    Raises DataError for a class that the model does not know.
    """
    if names is None or data.class_names is None:
        return data.y
    known, in_data = tuple(map(name_text, names)), tuple(map(name_text, data.class_names))
    if in_data == known:
        return data.y
    strange = [name for name in in_data if name not in known]
    if strange:
        raise DataError(
            f"{data.name} has the class {strange[0]!r}, which the model does not know. It knows: {', '.join(known)}."
        )
    return np.array([known.index(name) for name in in_data])[data.y]
