"""Record a training run for the page: every step, or an even selection of steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from bpengine.backend import ArrayLike
from bpengine.explain.network_columns import Column, columns, heights
from bpengine.explain.page.content import Content, Labels
from bpengine.explain.page.document import Page
from bpengine.explain.page.packing import NumberTable, array_text, distinct, packed, replaced, text
from bpengine.explain.page.program.recorded_step import StepRecord, record_step, state_of
from bpengine.explain.page.program.sources import leaves
from bpengine.explain.result import language_of
from bpengine.explain.trace.rule import rule_of
from bpengine.explain.trace.steps import trace_steps
from bpengine.explain.trace.trace import Trace
from bpengine.i18n.language import LANGUAGES, in_each_language
from bpengine.ops import known
from bpengine.trained import TrainedNetwork, input_names
from bpengine.training.fit import FitSettings
from bpengine.training.optimizers import Optimizer, make_optimizer

ROWS, TERMS = 8, 10  # rows of the batch, and terms of one sum, that are shown
FEW_ROWS, FEW_TERMS = 4, 6  # rows and terms for a network that is too large to be drawn completely
LARGEST = 1_000_000  # bytes of a page: steps are left out until it is no larger, or two are left
BYTES = 850_000  # approximate bytes of a page without its scripts; more steps than fit are thinned out evenly
STATE = 2_000  # numbers of a state that is kept for every step; a larger one is kept for the first step only
BYTES_OF_A_NUMBER = 8 * 4 / 3  # float64 in base64


def page(
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    optimizer: str | Optimizer = "sgd",
    steps: int = 200,
    title: str = "",
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    lang: str | None = None,
) -> Page:
    """Train on the full batch for some steps and return them as a page; the model is left unchanged.

    x (rows, inputs); y as the loss requires; weights (rows,) or None. title: that of the data. inputs, outputs: names of the
    features and of the classes; by default those of the model. lang: the initial language of the page, "en" or "pt"; by
    default the language that is set.
    A step in which a number is not finite is the last one; the page names the first cause. Weights, inputs, targets,
    activations and the learning rate can be changed in the page, which then computes the step itself, for about 130,000
    weights and numbers of rows in float32, 65,000 in float64; otherwise it says why it cannot. "Save" writes them to a file.
    Raises ConfigError for invalid settings, ShapeError or DataError for rows that do not fit.

    >>> import bpengine as bp
    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    >>> model = bp.Model(network, dtype="float64")
    >>> page = bp.explain.page(model, xor.x, xor.y, optimizer=bp.SGD(2.0), steps=20)
    >>> len(page.html()) < 1_000_000
    True
    """
    lang = language_of(lang)
    FitSettings(optimizer=optimizer, steps=steps)  # checks both as a fit would
    chosen = make_optimizer(optimizer)
    run = trace_steps(model, x, y, weights, optimizer=chosen, steps=steps)
    first = next(run)
    shown = _content(first, _named(inputs or input_names(model, ()), model.network.inputs))
    recorded = record_step(first, shown)
    taken = _Taken(shown, recorded)
    free = BYTES - taken.size(first)
    wanted = set(spread(steps, max(2, int(free / BYTES_OF_A_NUMBER / distinct(taken.look(first))))))
    for step, trace in enumerate(chain([first], run)):
        taken.losses.append(trace.loss)
        taken.rates.append(trace.learning_rate)
        if step in wanted or trace.first_bad:
            taken.add(step + 1, trace)
        if trace.first_bad:
            taken.bad = (step + 1, {spoken: trace.first_bad.text(spoken) for spoken in LANGUAGES})
            break
    names, about = _named(outputs or model.class_names, model.network.outputs), _about(first, model, steps)
    document = Page(title, lang, about, taken.content(first, names))
    while len(document.html()) > LARGEST and len(taken.steps) > 2:
        taken.thin(LARGEST / len(document.html()))
        document = Page(title, lang, about, taken.content(first, names))
    return document


def _content(first: Trace, inputs: list[str] | None) -> Content:
    drawn = columns(first)
    rows, terms = (ROWS, TERMS) if all(column.whole for column in drawn) else (FEW_ROWS, FEW_TERMS)
    return Content(drawn, spread(first.rows, rows), terms, inputs, Labels())


class _Taken:
    """The steps taken so far."""

    def __init__(self, shown: Content, recorded: StepRecord) -> None:
        self.shown, self.recorded = shown, recorded
        self.steps: list[int] = []
        self.sheets: list[NumberTable] = []
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.bad: tuple[int, dict[str, str]] | None = None
        self.structure: dict[str, Any] = {}

    def look(self, trace: Trace) -> NumberTable:
        """Return the numbers of a step, without keeping it, and its initial state where the page computes with it."""
        sheet = NumberTable()
        self.structure = self.shown.take(trace, sheet)
        arrays = [array.ravel() for _, array in leaves(state_of(trace))]
        if self.recorded.program and sum(map(len, arrays)) <= STATE:
            self.structure["state"] = [
                [sheet.put_all(array)[0], len(array)] if len(array) else [0, 0] for array in arrays
            ]
        return sheet

    def add(self, step: int, trace: Trace) -> None:
        """Add a step."""
        self.steps.append(step)
        self.sheets.append(self.look(trace))

    def thin(self, share: float) -> None:
        """Keep an even selection of the steps with the first and the last, at least one step fewer."""
        kept = spread(len(self.steps), max(2, min(len(self.steps) - 1, int(share * len(self.steps)))))
        self.steps, self.sheets = [self.steps[i] for i in kept], [self.sheets[i] for i in kept]

    def size(self, first: Trace) -> int:
        """Return about how many bytes the page has without the numbers of its steps."""
        sheet = self.look(first)
        if self.recorded.program is None:
            return 0
        return len(json.dumps([self._program(first), self.structure, self.shown.labels.texts()])) + 6 * len(
            sheet.values
        )

    def content(self, first: Trace, outputs: list[str] | None) -> dict[str, Any]:
        """Return everything for the page, as plain values."""
        numbers, refs = packed(self.sheets)
        left = list(_left(first, self))
        structure = self.structure if self.recorded.program else replaced(self.structure, refs)
        return {
            **structure, "numbers": numbers, "labels": self.shown.labels.texts(),
            "places": refs if self.recorded.program else None,
            "program": self._program(first), "trouble": self._trouble(),
            "columns": [_column(c) for c in self.shown.columns], "names": {"inputs": self.shown.inputs, "outputs": outputs},
            "rows": list(self.shown.rows), "batch": first.rows, "targets": _targets(first, self.shown.rows, outputs),
            "steps": self.steps, "losses": text(self.losses), "bad": self.bad, "left": left, "rates": text(self.rates),
        }  # fmt: skip

    def _trouble(self) -> tuple[str, dict[str, str]] | None:
        """Return why the page cannot compute, as it says it in each language."""
        trouble = self.recorded.trouble
        return None if trouble is None else (trouble[0], in_each_language(trouble[1]))

    def _program(self, first: Trace) -> dict[str, Any] | None:
        """Return the operations of the step, and the arrays that it begins from, in the order of its inputs."""
        if self.recorded.program is None:
            return None
        rows = [array for array in (first.x, first.target, first.weights) if array is not None]
        start = [array for _, array in leaves(state_of(first))]
        return {**self.recorded.program, "start": list(map(array_text, start)), "data": list(map(array_text, rows))}


def _column(column: Column) -> dict[str, Any]:
    """Return a column as the page's script reads it: `marks` from top to bottom, each with its height from 0 to 1."""
    return {**vars(column), "whole": column.whole, "marks": column.marks, "heights": heights(column.marks)}


def spread(count: int, wanted: int) -> list[int]:
    """Return `wanted` whole numbers from 0 to count - 1, with the first and the last, as evenly spaced as possible."""
    return sorted({int(i) for i in np.rint(np.linspace(0, count - 1, min(count, wanted)))})


def _named(names: Sequence[str] | None, count: int) -> list[str] | None:
    """Return names as text where there is one for each, else None."""
    return [str(name) for name in names] if names is not None and len(names) == count else None


def _targets(trace: Trace, rows: Sequence[int], outputs: list[str] | None) -> list[list[str]]:
    """Return the targets of the rows shown as text."""
    targets = np.asarray(trace.target)[list(rows)]
    if targets.ndim == 1 and targets.dtype.kind in "iu":
        return [[outputs[label] if outputs else str(label)] for label in targets]
    return [[f"{value:.10g}" for value in row] for row in targets.reshape(len(targets), -1)]


def _about(trace: Trace, model: TrainedNetwork, steps: int) -> dict[str, Any]:
    loss, (rule, formula) = trace.network.loss, rule_of(trace)
    settings = ", ".join(f"{name} {value:g}" for name, value in trace.optimizer.options().items())
    return {
        "sizes": "-".join(map(str, trace.network.sizes)), "loss": loss.name, "reduction": loss.reduction,
        "own_loss": not known(loss.kernel),
        "optimizer": type(trace.optimizer).__name__, "settings": settings, "rate": f"{trace.learning_rate:g}",
        "backend": trace.backend, "dtype": trace.dtype, "wanted": steps, "rule": rule, "formula": dict(formula),
        "penalties": [f"{penalty.kernel} {penalty.strength:g}" for penalty in trace.network.penalties],
    }  # fmt: skip


def _left(trace: Trace, taken: _Taken) -> Iterator[str]:
    """Yield layers whose connections are unknown because a custom layer bypasses kernels."""
    from_kernels = {id(trace.x), *(id(call.result[0]) for call in trace.forward if isinstance(call.result, tuple))}
    parameters = {w["name"].split("[")[0] for w in taken.structure["weights"]}
    cut = {unit["column"] for unit in taken.structure["units"] if unit["incoming"] is None}
    for number, column in enumerate(taken.shown.columns[1:], start=1):
        layer = trace.layers[column.place]
        own = {f"{column.place}.{name}" for name in layer.parameters}
        unknown = id(layer.a) not in from_kernels or (own and not own & parameters)
        if number in cut or not column.sources or unknown:
            yield column.place
