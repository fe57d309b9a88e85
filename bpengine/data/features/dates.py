"""Dates written as text: their format, and their values as days since 1970."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module

import numpy as np

from bpengine.data.table import Array, TableColumn
from bpengine.errors import DataError

SHORTEST = 6  # characters of a date
DAY = 86_400_000_000  # microseconds
# texts that fromisoformat reads as strptime does in these formats, in a tenth of the time
_DATE, _TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}"
ISO = {
    "%Y-%m-%d": re.compile(_DATE),
    "%Y-%m-%d %H:%M:%S": re.compile(f"{_DATE} {_TIME}"),
    "%Y-%m-%dT%H:%M:%S": re.compile(f"{_DATE}T{_TIME}"),
}


def date_format(texts: tuple[str, ...]) -> str | None:
    """Return the format that all texts are dates in, or None. pandas guesses it; without pandas, text is no date."""
    if not texts or any(len(text) < SHORTEST or not any(map(str.isdigit, text)) for text in texts):
        return None
    with suppress(ImportError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas guesses one order of day and month; both are tried
        guess = import_module("pandas.tseries.api").guess_datetime_format
        for day_first in ("." in texts[0], "." not in texts[0]):
            for text in texts[:20]:  # the first text may be ambiguous
                form = guess(text, dayfirst=day_first)
                if form and all(_parsed(other, form) is not None for other in texts):
                    return str(form)
    return None


def days(column: TableColumn, form: str | None, name: str, start: int = 0) -> Array:
    """Return dates as days since 1970 (rows,), NaN for missing ones. start: the number of the first row, for messages.

    Raises: DataError for text that is no date of that format, and for numbers.
    """
    if column.categories is not None:
        used = np.unique(column.values[column.values >= 0])
        # a piece of a long column has the categories of the whole column, most of which it does not use
        parsed: list[datetime | None] = [None] * (len(column.categories) + 1)
        for i in used:
            parsed[i] = _parsed(column.categories[i], form)
        wrong = next((int(i) for i in used if parsed[i] is None), None)
        if wrong is not None:
            row = int(np.argmax(column.values == wrong))
            wanted, text = form or "YYYY-MM-DD", column.categories[wrong]
            raise DataError(
                f"column {name!r} requires dates of the format {wanted}, got {text!r} in row {start + row}."
            )
        moments = np.array(parsed, "datetime64[us]")[column.values]
    elif column.values.dtype.kind == "M":
        moments = column.values.astype("datetime64[us]")
    elif column.missing.all():
        return np.full(len(column.values), np.nan)
    else:
        raise DataError(f"column {name!r} requires dates, got numbers. Give rows like those of the training.")
    days = moments.astype(np.int64) / DAY
    return np.where(np.isnat(moments), np.nan, days)


def _parsed(text: str, form: str | None) -> datetime | None:
    with suppress(ValueError):
        iso = form is None or (form in ISO and ISO[form].fullmatch(text))
        moment = datetime.fromisoformat(text) if iso else datetime.strptime(text, str(form))
        return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    return None
