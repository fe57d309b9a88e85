"""A layer's parameter may be called like the input, "x", or like the scalar of a report, "value"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import bpengine as bp


@dataclass(frozen=True)
class Scale(bp.Layer):
    """y = p x, with the parameter p called `name`; `sign` -1 makes its gradient wrong."""

    name: str
    sign: float = 1.0

    def init(self, rng: np.random.Generator, inputs: int) -> dict[str, Any]:
        return {self.name: rng.uniform(1, 2, inputs)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        p = params[self.name]
        return x * p, (x, p), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        x, p = residual
        return dy * p, {self.name: self.sign * ops.xp.sum(dy * x, axis=0)}


@pytest.mark.parametrize("name", ["x", "value"])
def test_a_parameter_of_any_name_is_checked(name: str, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))

    def reports(layer: bp.Layer) -> list[Any]:
        network = bp.Network(3, [bp.Dense(3, "tanh"), layer], "mean_squared_error")
        return [bp.check_gradients(layer, x), bp.check_gradients(network, x, y)]

    assert all(report.passed for report in reports(Scale(name)))
    for report in reports(Scale(name, -1.0)):
        assert not report.passed
        assert f"gradient of {name} (parameter)" in str(report.guilty)
        assert "the sign is wrong" in str(report.guilty)
