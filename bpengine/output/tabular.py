"""The base of all results: plain values for JSON, rows for a table, a pandas data frame, and a form for notebooks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from bpengine.output.frames import DataFrame, data_frame
from bpengine.output.rich_form import RichForm


class TabularResult(RichForm):
    """A result that is written as JSON (`to_dict`), put into a table (`to_rows`, `to_frame`), and shown in a notebook."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""

    @abstractmethod
    def to_rows(self) -> Iterable[dict[str, Any]]:
        """Return one dict per line of a table."""

    def to_frame(self) -> DataFrame:
        """Return `to_rows()` as a pandas data frame; raise ConfigError where pandas is not installed."""
        return data_frame(list(self.to_rows()), type(self).__name__)
