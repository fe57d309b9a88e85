"""Rows as a pandas data frame, where pandas is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

from bpengine.errors import ConfigError

DataFrame: TypeAlias = Any  # of pandas, which has no type annotations


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
