"""A CSV file with a line for each epoch."""

from __future__ import annotations

import csv
import io
import json

from bpengine.callbacks.epoch_log import Row, RowLog

FIRST = ["epoch", "step"]  # the first columns of every such file


class CSVLog(RowLog):
    """A CSV file with a line for each epoch: epoch, step, loss, learning_rate, seconds, validation scores.

    loss is the mean over the rows of the epoch, as in `history.epochs`; `history.loss` has that of each step.
    Numbers have all their digits; a confusion matrix is written as JSON; the cell of a missing score is empty.
    A continued fit (`resume`, `continue_from`) continues the file and logs no epoch twice; another fit overwrites it. On
    several processes, process 0 writes.

    layers: (x, y): log each layer's gradient norm, dead and saturated units on these rows as well, as "0.gradient_norm".
    Raises WriteError for a file that cannot be written, ConfigError for a file that is not such a log.

    >>> log = bp.callbacks.CSVLog("epochs.csv")
    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
    >>> history = model.fit([[0.0], [1.0]], [[1.0], [0.0]], epochs=2, validation=([[0.5]], [[0.5]]), callbacks=log)
    >>> print(log.path.read_text().splitlines()[0])
    epoch,step,loss,learning_rate,seconds,validation_loss,validation_rmse
    """

    def _rows(self, lines: list[str]) -> list[Row]:
        if not lines:
            return []
        heads, *rows = csv.reader(lines)
        if heads[:2] != FIRST or any(len(row) != len(heads) for row in rows):
            raise ValueError("no log of epochs")
        return [
            {name: int(cell) if name in FIRST else _Cell(cell) for name, cell in zip(heads, row, strict=True)}
            for row in rows
        ]

    def _head(self) -> list[str]:
        return [_joined(list(self._columns))]

    def _line(self, row: Row) -> str:
        return _joined([_cell(row.get(name)) for name in self._columns])


class _Cell(str):
    """A cell in the form that it has when the file is read again."""

    __slots__ = ()


def _joined(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (list, tuple, dict)) else repr(value)
