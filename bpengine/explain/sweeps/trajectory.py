"""Descent: the steps of a fit as points on the loss curve, to be drawn on a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import numpy as np

from bpengine.errors import ConfigError
from bpengine.explain.lookup import find_element
from bpengine.explain.sweeps.loss_function import LossFunction
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.output.rich_form import cell_text, rows_table, title, words
from bpengine.output.tabular import TabularResult
from bpengine.text_table import text_table
from bpengine.trained import TrainedNetwork
from bpengine.training.history import Epoch, History

CLOSE = 1e-3  # relative difference of losses above which they are of different steps: another batch, another parameter


@dataclass(frozen=True, kw_only=True)
class DescentPoint:
    """One step: the parameters before it, loss and slopes there, the step size (old - new), the parameters after it."""

    step: int
    value: tuple[float, ...]
    loss: float
    slope: tuple[float, ...]
    learning_rate: float | None
    step_size: tuple[float, ...]
    new: tuple[float, ...]


@dataclass(frozen=True)
class Descent(TabularResult):
    """The steps of a fit in order, and the rule that ended it.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, bias=False, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> history = model.fit([[1.0]], [[2.0]], optimizer=bp.SGD(0.25), steps=2)
    >>> swept = bp.sweep(model, [[1.0]], [[2.0]], "0.weight[0,0]", [1.0, 3.0], history=history)
    >>> [point.value for point in swept.descent.points]
    [(3.0,), (2.5,)]
    """

    points: tuple[DescentPoint, ...]
    stopped_by: str

    def __str__(self) -> str:
        rows = [[cell_text(value) for value in row.values()] for row in self.to_rows()]
        heads = words(field.name.replace("_", " ") for field in fields(DescentPoint))
        return "\n".join([localized(self._headline()), *text_table(heads, rows, str.rjust)])

    def _headline(self) -> str:
        return f"{count_of(len(self.points), 'step')}, stopped by: {self.stopped_by or 'nothing'}"

    def _html_parts(self) -> Iterator[str]:
        yield from (title(localized(self._headline())), rows_table(self.to_rows()))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per step."""
        return [dict(vars(point)) for point in self.points]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return {"points": self.to_rows(), "stopped_by": self.stopped_by}

    def to_json(self) -> dict[str, Any]:
        """Return `to_dict()`, which had this name before."""
        return self.to_dict()


@dataclass
class Walk:
    """A callback that records the values of the named parameters before the fit and after each epoch.

    walk = Walk(model, ["1.bias", "0.weight[0,1]"]); model.fit(..., callbacks=walk). Each epoch must be one step, a full
    batch, for the points to be the steps of the descent.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, bias=False, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> walk = bp.explain.Walk(model, "0.weight[0,0]")
    >>> history = model.fit([[1.0]], [[2.0]], optimizer=bp.SGD(0.25), epochs=2, callbacks=walk)
    >>> walk.visited
    [(3.0,), (2.5,), (2.25,)]
    """

    model: TrainedNetwork
    parameters: str | Sequence[str]
    visited: list[tuple[float, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = [self.parameters] if isinstance(self.parameters, str) else list(self.parameters)
        self.elements = tuple(find_element(self.model.parameters, name) for name in self.names)
        self(self.model, None)

    def __call__(self, model: TrainedNetwork, epoch: Epoch | None) -> None:
        """Record the values."""
        here = model.parameters
        self.visited.append(tuple(float(here[name][index]) for name, index in self.elements))


def descent_of(function: LossFunction, history: History | None, walk: Walk | None) -> Descent | None:
    """Return the steps of a fit, as a callback recorded them or else from the history of one parameter."""
    if walk is None and history is None:
        return None
    if walk is not None:
        if walk.elements != function.elements:
            raise ConfigError(f"the Walk records {', '.join(walk.names)}, not of the parameters that are swept.")
        visited = walk.visited
    else:
        assert history is not None
        visited = _visited(function, history)
    rates = [None] * len(visited) if history is None else [float(rate) for rate in history.learning_rate]
    if history is not None and len(visited) != history.steps + 1:
        raise ConfigError(
            f"the Walk has {len(visited) - 1} steps and the history {history.steps}: one step must be one epoch. "
            "Train on full batches (batch_size=None)."
        )
    points = []
    for i, (old, new) in enumerate(pairwise(visited)):
        loss, slope = function.at(old)
        size = tuple(a - b for a, b in zip(old, new, strict=True))
        points.append(
            DescentPoint(step=i + 1, value=old, loss=loss, slope=slope, learning_rate=rates[i], step_size=size, new=new)
        )
    return Descent(tuple(points), history.stopped_by if history else "")


def _visited(function: LossFunction, history: History) -> list[tuple[float, ...]]:
    """Return the earlier values of one parameter, reconstructed from its present value and the size of each step.

    The history holds the size of a step, not its direction: of the two possible earlier values, the one with the recorded
    loss is used. Raises ConfigError when neither has it.
    """
    if len(function.elements) != 1:
        raise ConfigError("the history records one parameter; for two pass walk=Walk(model, names) to the fit.")
    if history.step_size is None:
        raise ConfigError("the history holds no step sizes. Train on full batches, or with track_step_size=True.")
    visited, rounding = (
        [function.start()[0]],
        float(np.finfo(np.float32).eps * np.max(np.abs(history.loss), initial=0.0)),
    )
    for loss, size in zip(history.loss[::-1], history.step_size[::-1], strict=True):
        here = visited[-1]
        came_from = min((here + float(size), here - float(size)), key=lambda v: abs(function.at([v])[0] - float(loss)))
        if not np.isclose(function.at([came_from])[0], float(loss), rtol=CLOSE, atol=rounding):
            raise ConfigError(
                f"the history is not of a descent in this parameter that ended where the model is: no point has the loss "
                f"{float(loss):g} of step {history.steps - len(visited) + 1}. Fit with only=[...] on the same full batch."
            )
        visited.append(came_from)
    return [(value,) for value in visited[::-1]]
