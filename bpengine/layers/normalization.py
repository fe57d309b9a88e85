"""BatchNorm and LayerNorm: values normalised to mean 0 and variance 1, then scaled by gamma and shifted by beta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bpengine.errors import number, unknown
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.layers.layer import Arrays, HostArrays, Layer, Run, Shapes
from bpengine.ops import Ops

OVER = ("batch", "shard")


@dataclass(frozen=True)
class _Normalization(Layer):
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", number(self.eps, type(self).__name__, "eps", low=0, above=True))

    def init(self, rng: np.random.Generator, inputs: int) -> HostArrays:
        """Return gamma 1 and beta 0: a normalisation without scale and shift."""
        return {"gamma": np.ones(inputs), "beta": np.zeros(inputs)}

    def shapes(self, inputs: int) -> Shapes:
        """Return the shapes of gamma and beta."""
        return Shapes({"gamma": (inputs,), "beta": (inputs,)}, {})


@dataclass(frozen=True)
class LayerNorm(_Normalization):
    """Normalise each sample over its features.

    Parameters: "gamma", "beta" (features,). Source: Ba, Kiros, Hinton, "Layer normalization", 2016.

    >>> model = bp.Model(bp.Network(2, [bp.Dense(3), bp.LayerNorm()], "mean_squared_error"))
    >>> {name: value.shape for name, value in model.parameters.items() if name.startswith("1.")}
    {'1.gamma': (3,), '1.beta': (3,)}
    """

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        """Normalise x (batch, features) over axis 1."""
        y, residual = ops.layer_norm_fwd(x, params["gamma"], params["beta"], eps=self.eps)
        return y, residual, running

    def backward(self, ops: Ops, residual: Tree, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return dx and the gradients of gamma and beta."""
        dx, dgamma, dbeta = ops.layer_norm_bwd(residual, dy)
        return dx, {"gamma": dgamma, "beta": dbeta}


@dataclass(frozen=True)
class BatchNorm(_Normalization):
    """Normalise each feature over the batch in training, and with the running statistics afterwards.

    momentum: share of the old value in the running mean and variance, running = momentum old + (1 - momentum) batch.
    over: "batch", or "shard": where a batch is computed in shards (`fit(shards=16)`), by one process or by several, each
    shard is normalised by its own statistics, and the running statistics are updated with their mean. Without shards both
    are the same. Parameters: "gamma", "beta" (features,). Running statistics: "mean", "variance" (features,); the variance
    is the biased one (divided by the number of rows). A training step needs at least 2 rows: one row has no variance.
    Gradients, traces and checks accept one row: dx is 0 then. With `fit(freeze="0.*")` the layer's gamma, beta and statistics
    stay as they are, and it normalises with the running statistics. The statistics weigh rows by the weights passed to
    `fit`: a row of weight 0 is left out, one of weight 2 counts twice. A batch in which fewer than two rows count leaves
    the running statistics unchanged. Source: Ioffe, Szegedy, ICML 2015.
    Raises ConfigError for an unknown `over`, or a momentum or eps out of its range.

    >>> model = bp.Model(bp.Network(2, [bp.Dense(3), bp.BatchNorm()], "mean_squared_error"))
    >>> sorted(model.running)
    ['1.mean', '1.variance']
    """

    momentum: float = 0.9
    over: str = "batch"
    _never_negative: ClassVar[tuple[str, ...]] = ("variance",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.over not in OVER:
            raise unknown("over of BatchNorm:", self.over, OVER)
        object.__setattr__(self, "momentum", number(self.momentum, "BatchNorm", "a momentum", low=0, below=1))

    def init_running(self, inputs: int) -> HostArrays:
        """Start from mean 0 and variance 1."""
        return {"mean": np.zeros(inputs), "variance": np.ones(inputs)}

    def shapes(self, inputs: int) -> Shapes:
        """Return the shapes of gamma and beta, mean and variance."""
        return Shapes(super().shapes(inputs).params, {"mean": (inputs,), "variance": (inputs,)})

    def smallest_batch(self, run: Run) -> int:
        """Return 2 in training: one row has no variance, and its output would be beta whatever x is."""
        return 2 if run.training else 1

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        """Normalise x (batch, features) over axis 0, or by the running statistics."""
        gamma, beta = params["gamma"], params["beta"]
        if not run.training:
            fixed = (running["mean"], running["variance"])
            y, residual = ops.batch_norm_inference_fwd(x, gamma, beta, *fixed, eps=self.eps)
            return y, (False, residual), running
        weights = () if run.weights is None else (run.weights,)
        y, residual = ops.batch_norm_fwd(x, gamma, beta, *weights, eps=self.eps)
        seen = {"mean": residual.mean, "variance": residual.variance}
        how = {"momentum": self.momentum, "least": 2}  # the mean needs one row only, but is used with the variance
        averaged = {n: ops.moving_average(running[n], seen[n], *weights, **how) for n in running}
        return y, (True, residual), averaged

    def backward(self, ops: Ops, residual: Tree, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return dx and the gradients of gamma and beta; in training dx flows through the batch statistics too."""
        training, inner = residual
        run = ops.batch_norm_bwd if training else ops.batch_norm_inference_bwd
        dx, dgamma, dbeta = run(inner, dy)
        return dx, {"gamma": dgamma, "beta": dbeta}
