"""Loss: one of the loss kernels, with its reduction and options."""

from __future__ import annotations

from dataclasses import dataclass, field

from bpengine.errors import ConfigError, number, unknown
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import Kernel

LOSSES = tuple(name for name, kernel in KERNELS.items() if kernel.kind == "loss")


@dataclass(frozen=True, init=False)
class Loss:
    """A loss by name: `Loss("huber", delta=0.5)`, `Loss("binary_cross_entropy", reduction="batch_mean")`.

    The reduction says what is summed and what is averaged; each loss has a default and allows the reductions that its
    name does not contradict: "sum" over batch and outputs, "mean" over both, "batch_mean" the sum over the outputs
    averaged over the batch. The gradient is always the gradient of the number so reduced.
    Raises ConfigError for an unknown name, reduction or option.
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
        known = KERNELS[name].options.keys() - {"reduction"}
        for option, value in options.items():
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


def make_loss(spec: str | Loss) -> Loss:
    """Return a Loss from a name or from one made already."""
    return spec if isinstance(spec, Loss) else Loss(spec)
