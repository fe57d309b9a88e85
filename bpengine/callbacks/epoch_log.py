"""The base of all logs of epochs: they only observe, and continue after an interruption without logging an epoch twice.

If an epoch's number does not follow that of the last one, a fit has begun or continues from a checkpoint or another fit: the
log then removes the rows from that epoch on, and continues with it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bpengine.callbacks.layer_scalars import Rows, check_rows, layer_scalars
from bpengine.errors import ConfigError, check_path
from bpengine.output.appending import add_line, whole_lines
from bpengine.output.writing import check_target, write_whole
from bpengine.trained import TrainedNetwork
from bpengine.training.history import Epoch

Row = dict[str, Any]


class EpochLog(ABC):
    """Base of the logs.

    layers: (x, y) or (x, y, weights): rows on which, after every epoch, each layer's gradient norm and its dead and saturated
    units are logged too (`bp.sensitivity`); a few hundred rows suffice. reads_model: with `layers` the log reads the model of
    each epoch; without, epochs of a single step are run together in compiled runs.
    """

    def __init__(self, layers: Rows | None = None) -> None:
        self.layers = check_rows(layers, type(self).__name__)
        self._last: int | None = None

    @property
    def reads_model(self) -> bool:
        """Whether the log reads the model, and not only the epoch."""
        return self.layers is not None

    def __call__(self, model: TrainedNetwork, epoch: Epoch) -> None:
        """Log an epoch."""
        scalars = {} if self.layers is None else layer_scalars(model, self.layers)
        if self._last is None or epoch.number != self._last + 1:
            self._begin(epoch)
        self._add(epoch, scalars)
        self._last = epoch.number

    @abstractmethod
    def _begin(self, epoch: Epoch) -> None:
        """Remove the log of this epoch and of later ones."""

    @abstractmethod
    def _add(self, epoch: Epoch, scalars: dict[tuple[str, str], float]) -> None:
        """Log an epoch, and the numbers of its layers by place and name."""


class RowLog(EpochLog):
    """A log that is a text file with a line for each epoch."""

    def __init__(self, path: str | os.PathLike[str], *, layers: Rows | None = None) -> None:
        super().__init__(layers)
        who = type(self).__name__
        check_path(path, who)
        check_target(path)
        self.path = Path(path)
        self._columns: Sequence[str] = ()
        if self.path.exists() and self._read() is None:
            raise ConfigError(
                f"{who} requires a file that it wrote itself, or none, got {str(self.path)!r}, which holds something else. "
                "Choose another file."
            )

    def _add(self, epoch: Epoch, scalars: dict[tuple[str, str], float]) -> None:
        row = epoch.to_row() | {f"{place}.{name}": value for (place, name), value in scalars.items()}
        if not set(row) <= set(self._columns):
            self._widen(row)
        add_line(self.path, self._line(row))

    def _begin(self, epoch: Epoch) -> None:
        rows = [row for row in (self._read() or []) if row["epoch"] < epoch.number] if self.path.exists() else []
        self._write(rows, list(dict.fromkeys(name for row in rows for name in row)))

    def _widen(self, row: Row) -> None:
        """Add columns to the file for all names of a row."""
        self._write(self._read() or [], list(dict.fromkeys([*self._columns, *row])))

    def _write(self, rows: list[Row], columns: list[str]) -> None:
        self._columns = columns
        lines = [*self._head(), *map(self._line, rows)] if columns else []
        write_whole(self.path, "".join(f"{line}\n" for line in lines).encode())

    def _read(self) -> list[Row] | None:
        """Return the rows of the file, None for a file of another kind."""
        lines = whole_lines(self.path)
        try:
            rows = self._rows(lines)
        except ValueError:
            return None
        return rows if all(isinstance(row.get("epoch"), int) for row in rows) else None

    @abstractmethod
    def _rows(self, lines: list[str]) -> list[Row]:
        """Return the rows of lines; raise ValueError for lines of another format."""

    @abstractmethod
    def _head(self) -> list[str]:
        """Return the lines above the rows."""

    @abstractmethod
    def _line(self, row: Row) -> str:
        """Return a row as a line."""
