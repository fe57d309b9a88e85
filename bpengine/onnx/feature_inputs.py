"""Columns of a table as separate inputs of a graph, and the network's inputs that Features compute from them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from bpengine.data import Features
from bpengine.data.features.learned_columns import CategoryColumn, LearnedColumn, NumberColumn
from bpengine.onnx.onnx_graph import ML, ROWS, Kind, OnnxGraph
from bpengine.onnx.recorded_array import XP, RecordedArray

WHOLE = "x"  # the input of rows without names
TEXT, NUMBER = np.dtype(object), np.dtype(np.float64)


class GraphInput(NamedTuple):
    """One input of a graph, and a description of its values."""

    array: RecordedArray
    takes: str


class Encoding(NamedTuple):
    """Network inputs x (rows, inputs), which rows are valid (rows, 1) or None for all, and the graph's inputs."""

    x: RecordedArray
    valid: RecordedArray | None
    entries: list[GraphInput]


def plain_inputs(graph: OnnxGraph, inputs: int, dtype: str) -> Encoding:
    """Record the input of a network that takes numbers directly."""
    x = _entry(graph, WHOLE, np.dtype(dtype), inputs)
    return Encoding(x, None, [GraphInput(x, "finite numbers, a column for each input of the network")])


def encoded_inputs_of(graph: OnnxGraph, features: Features, dtype: str) -> Encoding:
    """Record the encoding of Features, and the columns as inputs (rows, 1): text for categories, float64 for numbers.

    Numbers without names stay one input (rows, columns). Everything is computed in float64 and then cast, as Features do.
    """
    columns = [column for column in features.columns if column.input_names]
    numbers = {at: column for at, column in enumerate(columns) if isinstance(column, NumberColumn)}
    if not features.named and len(numbers) == len(columns) and not any(column.yes for column in numbers.values()):
        entries = [_whole(graph, features)]
        used = [at for at, column in enumerate(features.columns) if column.input_names]
        cells = [XP.take(entries[0].array, used, axis=1)]
    else:
        entries = [_entry_of(graph, column) for column in columns]
        cells = [_truths(c, entries[at].array) if c.yes else entries[at].array for at, c in numbers.items()]
    parts, valid = _scaled(list(numbers.values()), cells, dtype) if numbers else ([], None)
    order = [(at, 0) for at in numbers] + [(at, 1) for at, column in numbers.items() if column.indicator]
    for at, column in enumerate(columns):
        if isinstance(column, CategoryColumn):
            parts.append(_category(column, entries[at].array, dtype))
            order += [(at, number) for number in range(len(column.input_names))]
    return Encoding(_ordered(_joined(parts), order), valid, entries)


def _ordered(x: RecordedArray, order: Sequence[tuple[int, int]]) -> RecordedArray:
    """Return inputs, keyed by (column, number), in the order of the keys."""
    places = sorted(range(len(order)), key=order.__getitem__)
    ordered: RecordedArray = x if places == list(range(len(order))) else XP.take(x, places, axis=1)
    return ordered


def _joined(parts: Sequence[RecordedArray]) -> RecordedArray:
    joined: RecordedArray = XP.concat(parts, axis=1) if len(parts) > 1 else parts[0]
    return joined


def _entry(graph: OnnxGraph, name: str, dtype: Kind, width: int) -> RecordedArray:
    return RecordedArray(graph, graph.input(name, dtype, (ROWS, width)))


def _whole(graph: OnnxGraph, features: Features) -> GraphInput:
    names = [column.name for column in features.columns]
    x = _entry(graph, WHOLE, NUMBER, len(names))
    return GraphInput(x, f"numbers, NaN where they are missing, a column for each of: {', '.join(names[:8])}")


def _entry_of(graph: OnnxGraph, column: LearnedColumn) -> GraphInput:
    if isinstance(column, CategoryColumn):
        known = ", ".join(map(repr, column.values[:8])) + ", ..." * (len(column.values) > 8)
        others = "as the rare ones" if column.other else "as none of them"
        holds = f"text, '' where it is missing: {known}; others count {others}"
        return GraphInput(_entry(graph, column.name, TEXT, 1), holds)
    assert isinstance(column, NumberColumn)
    if column.yes is not None:
        return GraphInput(
            _entry(graph, column.name, TEXT, 1), f"text, '' where it is missing: {' or '.join(column.yes)}"
        )
    what = "days since 1970-01-01 as a number" if column.role == "date" else "0 or 1" * (column.role == "yes/no")
    return GraphInput(_entry(graph, column.name, NUMBER, 1), f"{what or 'a number'}, NaN where it is missing")


def _scaled(
    columns: Sequence[NumberColumn], parts: Sequence[RecordedArray], dtype: str
) -> tuple[list[RecordedArray], RecordedArray]:
    """Return scaled numbers and which were missing, and the rows (rows, 1) in which all of them are finite."""
    values, kind = _joined(parts), np.dtype(dtype)
    missing: RecordedArray = XP.isnan(values)
    fills = [np.nan if column.fill is None else column.fill for column in columns]
    if not np.isnan(fills).all():
        values = XP.where(missing, np.array([fills]), values)
    center, scale = (np.array([[float(getattr(c, name)) for c in columns]]) for name in ("center", "scale"))
    if center.any() or (scale != 1).any():
        values = (values - center) / scale
    scaled = XP.astype(values, kind)
    at = [place for place, column in enumerate(columns) if column.indicator]
    gaps = [XP.astype(XP.take(missing, at, axis=1), kind)] if at else []
    return [scaled, *gaps], XP.all(XP.isfinite(scaled), axis=1, keepdims=True)


def _truths(column: NumberColumn, x: RecordedArray) -> RecordedArray:
    """Return the numbers of truth values given as text in any case: NaN for missing ones, infinity (refused) for others."""
    assert column.yes is not None
    spelled = [("".join(letters), number) for number, text in enumerate(column.yes) for letters in _cases(text)]
    texts, numbers = ["", *(text for text, _ in spelled)], [np.nan, *(float(number) for _, number in spelled)]
    coded = x.noted(
        "LabelEncoder", dtype=np.float32, domain=ML, keys_strings=texts, values_floats=numbers, default_float=np.inf
    )
    return coded.noted("Cast", dtype=NUMBER)


def _cases(text: str) -> list[tuple[str, ...]]:
    return sorted(product(*((letter.lower(), letter.upper()) for letter in text)))


def _category(column: CategoryColumn, x: RecordedArray, dtype: str) -> RecordedArray:
    """Return the one-hot encoding of values, by the rule of `CategoryColumn.encode` for missing, rare and unknown ones."""
    beyond = len(column.values) if column.other else -1
    gap = len(column.values) + column.other if column.missing else -1
    numbers = {"": gap, **{value: at for at, value in enumerate(column.values)}}
    codes = x.noted(
        "LabelEncoder", dtype=np.int64, domain=ML, keys_strings=list(numbers), values_int64s=list(numbers.values()),
        default_int64=beyond,
    )  # fmt: skip
    places = np.arange(len(column.input_names), dtype=np.int64)[None, :]
    ones: RecordedArray = XP.astype(codes == places, np.dtype(dtype))
    return ones
