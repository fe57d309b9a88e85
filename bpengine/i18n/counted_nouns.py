"""A number with its noun: "1 row", "2 rows"; in the catalogue a noun is an entry with a plural, as gettext has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NOUNS: Final[Mapping[str, str]] = {
    "category": "categories",
    "class": "classes",
    "column": "columns",
    "contender": "contenders",
    "core": "cores",
    "date": "dates",
    "element": "elements",
    "epoch": "epochs",
    "feature": "features",
    "field": "fields",
    "file": "files",
    "fit": "fits",
    "GPU": "GPUs",
    "gradient": "gradients",
    "input": "inputs",
    "input column": "input columns",
    "kernel call": "kernel calls",
    "name": "names",
    "number": "numbers",
    "output": "outputs",
    "parameter": "parameters",
    "process": "processes",
    "row": "rows",
    "running statistic": "running statistics",
    "seed": "seeds",
    "setting": "settings",
    "shard": "shards",
    "step": "steps",
    "unit": "units",
    "value": "values",
    "workload": "workloads",
}


def count_of(number: int, noun: str, mark: str = "") -> str:
    """Return a number and its noun, in the singular for 1. mark: "," separates thousands.

    >>> from bpengine.i18n.counted_nouns import count_of
    >>> count_of(1, "class"), count_of(0, "row"), count_of(1200, "row", ","), count_of(1200, "epoch")
    ('1 class', '0 rows', '1,200 rows', '1200 epochs')
    """
    return f"{number:{mark}} {noun if number == 1 else NOUNS[noun]}"
