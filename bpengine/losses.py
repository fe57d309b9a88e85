"""Loss: one of the loss kernels, with its reduction and options; CustomLoss: a custom pair of functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from bpengine.errors import ConfigError, number, unknown
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import Kernel, Target
from bpengine.kernels._own import Function, Pair, check_name, check_pair, is_pair, own_loss

SMOOTHING = "label_smoothing"
LOSSES = tuple(name for name, kernel in KERNELS.items() if kernel.kind == "loss")


@dataclass(frozen=True, init=False)
class Loss:
    """A loss by name: `Loss("huber", delta=0.5)`, `Loss("binary_cross_entropy", reduction="batch_mean")`.

    The reduction says what is summed and what is averaged: "sum" over batch and outputs, "mean" over both, "batch_mean" the
    sum over the outputs averaged over the batch. Each loss has a default and allows the reductions that fit its name. The
    gradient is always that of the reduced number.

    The cross-entropies take `label_smoothing` = s, at least 0 and below 1: a target t becomes (1 - s) t + s / K over K
    classes, or (1 - s) t + s / 2 for a binary one. This is the loss that is trained, evaluated and checked. Source: Szegedy
    et al., "Rethinking the inception architecture for computer vision", CVPR 2016.
    Raises ConfigError for an unknown name, reduction or option.

    >>> bp.Network(2, bp.Dense(1), bp.Loss("huber", delta=0.5)).loss.name
    'huber'
    """

    name: str
    reduction: str
    options: dict[str, float] = field(hash=False)

    def __init__(self, name: str, reduction: str | None = None, **options: float) -> None:
        if name not in LOSSES:
            raise unknown("loss", name, LOSSES)
        allowed = KERNELS[name].reductions
        if reduction is not None and reduction not in allowed:
            raise ConfigError(
                f"loss {name!r} allows the reductions {', '.join(map(repr, allowed))}, got {reduction!r}."
            )
        smoothed = {SMOOTHING} if KERNELS[name].target != "values" else set()
        known = KERNELS[name].options.keys() - {"reduction"} | smoothed
        for option, value in options.items():
            if option == SMOOTHING and smoothed:
                options[option] = number(value, f"loss {name!r}", option, low=0, below=1)
                continue
            if option not in known:
                raise unknown(f"option of loss {name!r}:", option, known or ["none"])
            options[option] = number(value, f"loss {name!r}", option, low=0, above=True)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "reduction", reduction or allowed[0])
        object.__setattr__(self, "options", options)

    @property
    def kernel(self) -> Kernel:
        """The row of the KERNELS table."""
        return KERNELS[self.name]

    @property
    def target(self) -> str:
        """What the targets are: "values", "binary" (0 to 1 per output) or "classes"."""
        return self.kernel.target

    @property
    def link(self) -> str | None:
        """The activation that turns the network's raw outputs into predictions, or None."""
        return self.kernel.link

    @property
    def weighted(self) -> bool:
        """Whether rows may have weights."""
        return "weights" in self.kernel.arguments

    @property
    def settings(self) -> dict[str, Any]:
        """The options that its kernel is called with."""
        return {"reduction": self.reduction, **{n: v for n, v in self.options.items() if n != SMOOTHING}}

    @property
    def smoothing(self) -> float:
        """The share of every target that is spread evenly over all classes."""
        return self.options.get(SMOOTHING, 0.0)


TARGETS = ("values", "binary", "classes")
REDUCTIONS = ("mean", "sum")


@dataclass(frozen=True, init=False)
class CustomLoss(Loss):
    """A custom loss: a pair of functions, in the contract of a kernel.

    forward(xp, y, target) -> (loss, residual): y (rows, outputs) are the network's raw outputs, target is as `target` says,
        loss is one number, of shape (). A fourth argument, weights (rows,) or None, allows weighted rows.
    backward(xp, residual, dloss) -> dy (rows, outputs): the gradient of that number, times dloss.
    link: the activation that turns raw outputs into predictions ("sigmoid", "softmax"), or None. target: what the targets
        are: "values" (rows, outputs), "binary" (0 to 1 per output) or "classes" (whole numbers (rows,), or rows of
        probabilities (rows, classes)). reduction: "mean" when the number is a mean over the rows, "sum" when it is a sum; the
        losses of several pieces are combined accordingly. name: by default that of the forward, without an ending "_forward".

        A number that is neither, such as the largest error, is averaged over pieces where there are many rows. `xp` is the
        array namespace: code in its functions runs on every backend and compiles; no array may be written into.
    `check_gradients(loss)` checks it. A model file keeps its name: `bp.load(path, losses={"name": loss})`.
    Raises ConfigError for anything but such a pair, an unknown link, target or reduction, or a name that is in use.

    >>> import bpengine as bp
    >>> def log_cosh_forward(xp, y, target):
    ...     diff = y - target
    ...     return xp.mean(xp.log(xp.cosh(diff))), diff
    >>> def log_cosh_backward(xp, diff, dloss):
    ...     return xp.tanh(diff) * (dloss / diff.size)
    >>> bp.CustomLoss(log_cosh_forward, log_cosh_backward).name
    'log_cosh'
    """

    pair: Pair
    about: tuple[str | None, str] = field(repr=False)  # link and target
    own: Kernel = field(repr=False, compare=False)

    def __init__(
        self,
        forward: Function,
        backward: Function,
        *,
        link: str | None = None,
        target: Target = "values",
        name: str | None = None,
        reduction: str = "mean",
    ) -> None:
        check_pair(forward, backward, "loss", (3, 4), "forward(xp, y, target) or forward(xp, y, target, weights)")
        links = [known for known, kernel in KERNELS.items() if kernel.kind == "activation"]
        for what, value, allowed in (("target", target, TARGETS), ("reduction", reduction, REDUCTIONS)):
            if value not in allowed:
                raise unknown(f"{what} of a loss", value, allowed)
        if link is not None and link not in links:
            raise unknown("link (an activation)", link, links)
        name = check_name(name, forward, "loss", KERNELS)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "reduction", reduction)
        object.__setattr__(self, "options", {})
        object.__setattr__(self, "pair", (forward, backward))
        object.__setattr__(self, "about", (link, target))
        object.__setattr__(self, "own", own_loss(name, forward, backward, link=link, target=target))

    def __reduce__(self) -> tuple[Any, ...]:
        link, target = self.about
        how: dict[str, Any] = {"link": link, "target": target, "name": self.name, "reduction": self.reduction}
        return partial(type(self), **how), self.pair  # the row is made from the pair again

    @property
    def kernel(self) -> Kernel:
        """The row made from the pair, which is not in KERNELS."""
        return self.own

    @property
    def settings(self) -> dict[str, Any]:
        """The options that its kernel is called with: none."""
        return {}


def make_loss(spec: object) -> Loss:
    """Return a Loss from a name or a pair of functions (forward, backward); return a loss as it is.

    Raises ConfigError for an unknown name, or anything but a name, a pair or a loss.

    >>> make_loss("softmax_cross_entropy").link
    'softmax'
    """
    if isinstance(spec, str):
        return Loss(spec)
    if isinstance(spec, Loss):
        return spec
    if is_pair(spec):
        return CustomLoss(*spec)
    if isinstance(spec, type) and issubclass(spec, Loss):
        raise ConfigError(f"a loss is required, got the class {spec.__name__}. Call it: {spec.__name__}(...).")
    if callable(spec):
        raise ConfigError(
            f"a loss of one's own requires a pair (forward, backward), got the function {spec!r} alone. "
            "A gradient is not found by itself: write its backward."
        )
    return Loss(cast(str, spec))  # which refuses what is no name
