"""Sequential updates: each layer is updated before the gradient is taken through it. A file of its own, for its derivation.

A residual holds parts that depend on the layer's input (x itself, masks, normalised values) and parts that depend on the
parameters alone (w, its transpose, a slice of it). The former are kept, the latter are taken from a forward pass with the new
parameters. Which is which is tested once per layer, by forward passes on random inputs: a part that is the same for every
input depends on the parameters alone.
"""

from __future__ import annotations

import numpy as np

from bpengine.errors import ConfigError
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree, leaves, rebuilt
from bpengine.layers.chain import LayerStep
from bpengine.layers.contract import name_of, run_forward
from bpengine.layers.layer import Arrays
from bpengine.ops import Ops
from bpengine.streams import stream
from bpengine.system.quiet import Quiet

ROWS, DRAWS = 7, 3  # of random input


def renewed_residual(step: LayerStep, ops: Ops, new: Arrays, of_parameters: tuple[bool, ...]) -> Tree:
    """Return a layer's residual with those parts that depend on the parameters alone recomputed for `new` parameters."""
    _, again, _ = run_forward(step.layer, ops, {**step.params, **new}, step.running, step.x, step.run)
    pairs = zip(leaves(step.residual), leaves(again), of_parameters, strict=True)
    return rebuilt(step.residual, iter([fresh if own else old for old, fresh, own in pairs]))


def of_parameters_alone(step: LayerStep) -> tuple[bool, ...]:
    """Return, for each leaf of a layer's residual, whether it is the same for every input of the layer.

    Raises ConfigError for a residual that holds anything but arrays, numbers and text, whose leaves cannot be compared.
    """
    who = name_of(step.layer, step.run.place)
    for leaf in leaves(step.residual):
        if not (leaf is None or isinstance(leaf, (bool, int, float, complex, str)) or hasattr(leaf, "shape")):
            raise ConfigError(
                f"update='sequential' requires {who} to keep its residual in tuples, lists, dicts or dataclasses of "
                f"arrays, got {type(leaf).__name__}. Use update='simultaneous', or keep the arrays themselves."
            )
    rng = stream("in turn", 0)
    params = {name: rng.standard_normal(tuple(a.shape)) for name, a in step.params.items()}
    running = {name: rng.uniform(0.5, 2.0, tuple(a.shape)) for name, a in step.running.items()}
    draws = []
    with Quiet():
        for _ in range(DRAWS):
            x = 3.0 * rng.standard_normal((ROWS, step.x.shape[1]))
            weights = None if step.run.weights is None else rng.uniform(0.5, 2.0, ROWS)
            run = step.run._replace(counter=np.zeros(2, np.uint32), weights=weights)
            draws.append(list(leaves(run_forward(step.layer, Ops(np), params, running, x, run)[1])))
    return tuple(all(_equal(leaf, other) for other in others) for leaf, *others in zip(*draws, strict=True))


def _equal(a: Array, b: Array) -> bool:
    return a is b or bool(np.array_equal(a, b))
