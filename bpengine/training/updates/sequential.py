"""Sequential updates: the gradient goes down through weights that have just been updated.

A residual holds what depends on the layer's input (x itself, masks, normalised values) and what depends on the parameters
alone (w, or its transpose, or a slice of it). The first is kept as it was, the second is taken from a forward with the new
parameters. Which is which is found out once per layer, by runs on random numbers: what is the same for every input
depends on the parameters alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bpengine.errors import ConfigError
from bpengine.kernels._trees import leaves, rebuilt
from bpengine.layers.chain import Stage
from bpengine.layers.contract import name_of, run_forward
from bpengine.ops import Ops
from bpengine.streams import stream

ROWS, DRAWS = 7, 3  # of random input


def renewed(stage: Stage, ops: Ops, new: dict[str, Any], of_parameters: tuple[bool, ...]) -> Any:
    """Return the residual of a layer with new parameters where it depends on them alone."""
    _, again, _ = run_forward(stage.layer, ops, {**stage.params, **new}, stage.running, stage.x, stage.run)
    pairs = zip(leaves(stage.residual), leaves(again), of_parameters, strict=True)
    return rebuilt(stage.residual, iter([fresh if own else old for old, fresh, own in pairs]))


def of_parameters_alone(stage: Stage) -> tuple[bool, ...]:
    """Return, for each leaf of a layer's residual, whether it is the same whatever the layer's input is.

    Raises ConfigError for a residual that holds something else than arrays, numbers and text: nobody can look into it.
    """
    who = name_of(stage.layer, stage.run.place)
    for leaf in leaves(stage.residual):
        if not (leaf is None or isinstance(leaf, (bool, int, float, complex, str)) or hasattr(leaf, "shape")):
            raise ConfigError(
                f"update='sequential' requires {who} to keep its residual in tuples, lists, dicts or dataclasses of "
                f"arrays, got {type(leaf).__name__}. Use update='simultaneous', or keep the arrays themselves."
            )
    rng = stream("in turn", 0)
    params = {name: rng.standard_normal(tuple(a.shape)) for name, a in stage.params.items()}
    running = {name: rng.uniform(0.5, 2.0, tuple(a.shape)) for name, a in stage.running.items()}
    found = []
    with np.errstate(all="ignore"):
        for _ in range(DRAWS):
            x = 3.0 * rng.standard_normal((ROWS, stage.x.shape[1]))
            weights = None if stage.run.weights is None else rng.uniform(0.5, 2.0, ROWS)
            run = stage.run._replace(counter=np.zeros(2, np.uint32), weights=weights)
            found.append(list(leaves(run_forward(stage.layer, Ops(np), params, running, x, run)[1])))
    return tuple(all(_equal(leaf, other) for other in others) for leaf, *others in zip(*found, strict=True))


def _equal(a: Any, b: Any) -> bool:
    return a is b or bool(np.array_equal(a, b))
