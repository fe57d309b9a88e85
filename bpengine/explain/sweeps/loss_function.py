"""The loss of a model as a function of some elements of its parameters, all others frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bpengine.backend import ArrayLike
from bpengine.errors import ConfigError
from bpengine.explain.lookup import Element, find_element
from bpengine.explain.trace.steps import require_target
from bpengine.streams import dropout_counter
from bpengine.system.quiet import Quiet
from bpengine.trained import TrainedNetwork
from bpengine.training.evaluation import Evaluator
from bpengine.training.rows import Rows, model_rows


@dataclass(frozen=True)
class LossFunction:
    """The loss of a model as a function of some numbers of its parameters: at(point) -> (loss, its slope in each)."""

    model: TrainedNetwork
    rows: Rows
    elements: tuple[Element, ...]
    evaluator: Evaluator

    def at(self, point: Sequence[float]) -> tuple[float, tuple[float, ...]]:
        """Return the loss and its slopes where the parameters have these values; the model is left unchanged."""
        model, params = self.model, self.model.parameters
        for (name, index), value in zip(self.elements, point, strict=True):
            params[name][index] = value
        backend = model.backend
        new, running = (
            {n: backend.asarray(a, model.dtype) for n, a in arrays.items()} for arrays in (params, model.running)
        )
        counter = backend.asarray(dropout_counter(model.seed))
        with Quiet():
            loss, gradients = self.evaluator.gradients(new, running, counter, self.rows, training=True)
        slopes = (float(backend.to_numpy(gradients[name])[index]) for name, index in self.elements)
        return float(backend.to_numpy(loss)), tuple(slopes)

    def start(self) -> tuple[float, ...]:
        """Return the values that the model has now."""
        return tuple(float(self.model.parameters[name][index]) for name, index in self.elements)


def loss_function(
    model: TrainedNetwork, x: ArrayLike, y: ArrayLike, names: Sequence[str], weights: ArrayLike | None = None
) -> LossFunction:
    """Return the loss on x, y as a function of the named numbers, in training mode with the first step's dropout masks."""
    require_target(y)
    elements = tuple(find_element(model.parameters, name) for name in names)
    if len(set(elements)) < len(elements):
        raise ConfigError(f"sweep requires different parameters, got {names[0]!r} twice.")
    evaluator = Evaluator(model.network, model.backend, model.backend.ops())
    return LossFunction(model, model_rows(model, x, y, weights), elements, evaluator)
