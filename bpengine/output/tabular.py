"""The base of all results: plain values for JSON, rows for a table, a pandas data frame, and a form for notebooks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

from bpengine.errors import ConfigError
from bpengine.output.rich_form import RichForm

DataFrame: TypeAlias = Any  # of pandas, which has no type annotations


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


def data_frame(rows: Sequence[Mapping[str, Any]], who: str) -> DataFrame:
    """Return rows as a data frame; raise ConfigError where pandas is not installed.

    who: the method that was called, for the message.
    """
    if find_spec("pandas") is None:
        raise ConfigError(
            f"{who}.to_frame requires pandas, which is not installed. Install it with: pip install pandas, or take "
            "to_rows(), a list of dicts."
        )
    return import_module("pandas").DataFrame(rows)
