"""A file of JSON lines, one for each epoch."""

from __future__ import annotations

import json

from bpengine.callbacks.epoch_log import Row, RowLog
from bpengine.output.json_values import json_object
from bpengine.output.visible import visible_json


class JSONLog(RowLog):
    """JSON lines, an object for each epoch with the columns of `CSVLog`; a number that is not finite is null.

    A continued fit (`resume`, `continue_from`) continues the file and logs no epoch twice; another fit overwrites it. On
    several processes, process 0 writes.

    layers: (x, y): log each layer's gradient norm, dead and saturated units on these rows as well, as "0.gradient_norm".
    Raises WriteError for a file that cannot be written, ConfigError for a file that is not such a log.

    >>> import json
    >>> log = bp.callbacks.JSONLog("epochs.jsonl")
    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
    >>> history = model.fit([[0.0], [1.0]], [[1.0], [0.0]], epochs=2, callbacks=log)
    >>> [json.loads(line)["epoch"] for line in log.path.read_text().splitlines()]
    [1, 2]
    """

    def _rows(self, lines: list[str]) -> list[Row]:
        rows = [json.loads(line) for line in lines]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("no log of epochs")
        return rows

    def _head(self) -> list[str]:
        return []

    def _line(self, row: Row) -> str:
        return visible_json(json_object(row))
