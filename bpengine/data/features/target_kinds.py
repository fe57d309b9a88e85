"""Learned targets: names of classes to numbers, values to a scale, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from bpengine.data.table import Array
from bpengine.data.validation.class_names import ClassName, check_class_names, name_text
from bpengine.errors import DataError


@dataclass(frozen=True, kw_only=True)
class ClassTarget:
    """Classes by name, in the order of their numbers. columns: the target's name in the table, if it has one."""

    kind: ClassVar[str] = "classes"
    columns: tuple[str, ...] = ()
    classes: tuple[ClassName, ...]

    def __post_init__(self) -> None:
        check_class_names(self.classes, max(1, len(self.classes)))

    def encode(self, labels: Array | Sequence[object]) -> Array:
        """Return class numbers (rows,) for the classes' names.

        Raises: DataError naming the row of a class that was not learned.
        """
        cells = np.asarray(labels, object).reshape(len(labels), -1)
        if cells.shape[1] != 1:
            raise DataError(f"one class for each row is required, got targets of shape {cells.shape}.")
        names = [name_text(v.item() if isinstance(v, np.generic) else v) for v in cells[:, 0]]
        place = {name_text(name): number for number, name in enumerate(self.classes)}
        row = next((row for row, name in enumerate(names) if name not in place), None)
        if row is not None:
            known = ", ".join(map(name_text, self.classes[:20]))
            raise DataError(
                f"row {row} has the class {names[row]!r}, which the model does not know. It knows: {known}."
            )
        return np.array([place[name] for name in names], np.int64)

    def described(self) -> tuple[str, str]:
        """Return what it is, and how it is used."""
        return "classes", f"{len(self.classes):,}: " + ", ".join(map(name_text, self.classes[:6])) + ", ..." * (
            len(self.classes) > 6
        )


@dataclass(frozen=True, kw_only=True)
class ValueTarget:
    """Values: (value - center) / scale for each output; the model's predictions are converted to the values' own unit."""

    kind: ClassVar[str] = "values"
    columns: tuple[str, ...] = ()
    center: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        every = (*self.center, *self.scale)
        if len(self.center) != len(self.scale) or not all(
            isinstance(n, (int, float)) and math.isfinite(n) for n in every
        ):
            raise DataError(f"a target requires finite numbers, as many centers as scales, got {every}.")
        if not all(n > 0 for n in self.scale):
            raise DataError(f"a target requires scales above 0, got {self.scale}.")

    @property
    def scaled(self) -> bool:
        """Whether scaling changes the values."""
        return any(self.center) or any(n != 1 for n in self.scale)

    def encode(self, values: object) -> Array:
        """Return values (rows, outputs) on the scale they are learned on."""
        y = np.asarray(values)
        y = y[:, None] if y.ndim == 1 else y
        if not self.scaled or y.dtype.kind not in "biuf" or y.shape[1:] != (len(self.center),):
            return y  # other shapes are refused where the network's targets are checked
        return np.asarray((y - np.array(self.center)) / np.array(self.scale))

    def decode(self, y: Array) -> Array:
        """Return outputs (rows, outputs) in the value's own unit."""
        if not self.scaled:
            return y
        own: Array = y * np.array(self.scale, y.dtype) + np.array(self.center, y.dtype)
        return own

    def described(self) -> tuple[str, str]:
        """Return what it is, and how it is used."""
        pairs = (
            f"mean {center:.4g}, deviation {scale:.4g}"
            for center, scale in zip(self.center[:3], self.scale[:3], strict=True)
        )
        return "values", ("standardised: " + "; ".join(pairs)) if self.scaled else "as they are"


LearnedTarget = ClassTarget | ValueTarget


def learn_values(y: Array, columns: tuple[str, ...], weights: Array | None = None, *, scale: bool) -> ValueTarget:
    """Return the target of values y (rows, outputs), whose rows count by weights (rows,) where there are any."""
    wide = np.asarray(y, np.float64).reshape(len(y), -1)
    if not scale:
        return ValueTarget(columns=columns, center=(0.0,) * wide.shape[1], scale=(1.0,) * wide.shape[1])
    centers, spreads = moments(wide, weights)
    spread = [float(s) if s > 1e-12 * max(1.0, abs(c)) else 1.0 for c, s in zip(centers, spreads, strict=True)]
    return ValueTarget(columns=columns, center=tuple(map(float, centers)), scale=tuple(spread))


def moments(values: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return mean and standard deviation over the rows of values (rows, ...), each counting by its weight."""
    if weights is None:
        return np.asarray(values.mean(axis=0)), np.asarray(values.std(axis=0))
    center = np.average(values, axis=0, weights=weights)
    return np.asarray(center), np.sqrt(np.average((values - center) ** 2, axis=0, weights=weights))


def target_to_json(target: LearnedTarget | None) -> dict[str, Any] | None:
    """Return a target as JSON values."""
    return None if target is None else {"kind": target.kind, **asdict(target)}


def target_from_json(description: object) -> LearnedTarget | None:
    """Return the target that JSON values describe; raise DataError, TypeError or ValueError for invalid ones."""
    if description is None:
        return None
    kinds: dict[str, Any] = {kind.kind: kind for kind in (ClassTarget, ValueTarget)}
    if not isinstance(description, dict) or description.get("kind") not in kinds:
        raise DataError(f"a target requires a kind, got {repr(description)[:80]}.")
    learned: LearnedTarget = kinds[description["kind"]](**{n: tuple(v) for n, v in description.items() if n != "kind"})
    return learned
