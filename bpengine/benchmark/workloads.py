"""Workloads: a network, a batch size, an optimiser and a dtype, the same for every contender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from bpengine.errors import ConfigError
from bpengine.layers import Dense
from bpengine.network import Network
from bpengine.training import SGD, Adam, Optimizer

# Adam's eps, for every contender: some libraries add it to sqrt(v_hat), as algorithm 1 of the paper, others to sqrt(v), as
# its section 2. So it lies far below every gradient, where that difference has no effect, and above 3e-18: (1 - beta2) times
# the square of a smaller gradient underflows in float32, so v is 0, and only eps keeps the step below the learning rate.
EPS = 1e-16
# a rate small enough that rounding errors do not grow into different losses
RATES = MappingProxyType({"adam": 1e-4, "sgd": 1e-2})
RESIDENT = 2**30  # the most bytes of rows of a workload on a GPU
VERY_WIDE_RATE = 1e-5  # the rate with 4096 units a layer: at 1e-4 two steps overshoot, and rounding errors grow


@dataclass(frozen=True)
class Workload:
    """A network of equal layers, trained on softmax cross-entropy, or on sigmoid cross-entropy when it has one output.

    sizes: inputs, units of each layer, outputs. batch: rows per step. epoch_steps: steps per epoch; an epoch of one step
    is the full batch. steps: steps of a turn, None for as many epochs as a turn has time for. activation: of the hidden
    layers, "relu" or "sigmoid".
    Raises ConfigError for another optimizer than "adam" and "sgd", or steps that are not whole epochs.

    >>> from bpengine.benchmark import Workload
    >>> workload = Workload("tiny", (4, 8, 3), 16, optimizer="sgd", epoch_steps=2)
    >>> workload.rows, workload.network().sizes
    (32, [4, 8, 3])
    """

    name: str
    sizes: tuple[int, ...]
    batch: int
    _: KW_ONLY
    optimizer: str = "adam"
    dtype: str = "float32"
    epoch_steps: int = 16
    steps: int | None = None
    learning_rate: float | None = None
    activation: str = "relu"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in RATES:
            raise ConfigError(f"Workload requires optimizer 'adam' or 'sgd', got {self.optimizer!r}.")
        if self.steps is not None and self.steps % self.epoch_steps:
            raise ConfigError(f"Workload requires whole epochs of {self.epoch_steps} steps, got {self.steps} steps.")

    @property
    def rows(self) -> int:
        """The number of rows of an epoch."""
        return self.batch * self.epoch_steps

    @property
    def whole(self) -> bool:
        """True when every step sees all rows."""
        return self.epoch_steps == 1

    @property
    def rate(self) -> float:
        """The learning rate."""
        return RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def binary(self) -> bool:
        """True when the network has one output, the logit of a binary target."""
        return self.sizes[-1] == 1

    def network(self) -> Network:
        """Return the network."""
        *hidden, outputs = self.sizes[1:]
        loss = "sigmoid_cross_entropy" if self.binary else "softmax_cross_entropy"
        return Network(self.sizes[0], [*(Dense(units, self.activation) for units in hidden), Dense(outputs)], loss)

    def rule(self) -> Optimizer:
        """Return the optimiser."""
        return Adam(self.rate, eps=EPS) if self.optimizer == "adam" else SGD(self.rate)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Workload:
        """Build a workload from its fields."""
        return cls(**{**fields, "sizes": tuple(fields["sizes"])})

    def on(self, device: str) -> Workload:
        """Return the workload as it is run on a device: on a GPU steps are shorter, so epochs have more of them.

        They have eight times as many, or as many as fit on the device: the engine leaves larger arrays on the host.
        """
        if device != "gpu" or self.whole:
            return self
        epoch_bytes = self.rows * self.sizes[0] * (8 if self.dtype == "float64" else 4)
        return replace(self, epoch_steps=self.epoch_steps * max(1, min(8, RESIDENT // epoch_bytes)))


MAIN = (
    Workload("mlp-b128", (784, 512, 256, 10), 128, epoch_steps=64),
    Workload("mlp-b1024", (784, 512, 256, 10), 1024, epoch_steps=16),
    Workload("wide-sgd", (1024, 1024, 1024, 1024, 10), 1024, optimizer="sgd", epoch_steps=8),
    Workload("wide-adam", (1024, 1024, 1024, 1024, 10), 1024, epoch_steps=8),
    Workload("small", (64, 64, 64, 10), 32, epoch_steps=512),
)
# the textbook's sigmoid units: with relu, some rows end on the kink, where rounding decides the gradient
XOR = Workload(
    "xor", (2, 2, 1), 4, optimizer="sgd", epoch_steps=1, steps=10_000, learning_rate=1.0, activation="sigmoid"
)
HUGE = Workload("huge", (4096, 4096, 4096, 4096, 10), 1024, epoch_steps=2, learning_rate=VERY_WIDE_RATE)
LARGE = (
    Workload("mlp-b8192", MAIN[0].sizes, 8192, epoch_steps=4),
    Workload("mlp-b65536", MAIN[0].sizes, 65536, epoch_steps=2),
)
DOUBLE = tuple(replace(MAIN[i], name=f"{MAIN[i].name}-float64", dtype="float64") for i in (1, 4))
BATCHES = tuple(
    Workload(f"batch-{batch}", MAIN[0].sizes, batch, epoch_steps=max(2, min(64, 16384 // batch)))
    for batch in (1, 8, 64, 512, 4096, 16384, 65536)
)
WIDTHS = tuple(
    Workload(
        f"width-{width}",
        (width, width, width, 10),
        256,
        epoch_steps=max(4, min(64, 32768 // width)),
        learning_rate=VERY_WIDE_RATE if width == 4096 else None,
    )
    for width in (2, 4, 8, 16, 64, 256, 1024, 4096)
)
GROUPS: Mapping[str, tuple[Workload, ...]] = MappingProxyType(
    {
        "main": MAIN,
        "xor": (XOR,),
        "huge": (HUGE,),
        "large": LARGE,
        "float64": DOUBLE,
        "batches": BATCHES,
        "widths": WIDTHS,
    }
)
SWEEPS = ("batches", "widths")
GPU_SMALL = (MAIN[4], MAIN[0], XOR, MAIN[1])  # bound by the number of launches
GPU_LARGE = (*LARGE, MAIN[3], HUGE)  # bound by products and memory
SUITES: Mapping[str, tuple[Workload, ...]] = MappingProxyType(
    {"gpu": GPU_SMALL + GPU_LARGE, "gpu-small": GPU_SMALL, "gpu-large": GPU_LARGE}
)  # selections from the groups
# the default workloads
DEFAULT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"cpu": tuple(name for name in GROUPS if name != "large"), "gpu": ("gpu",)}
)
GROUP_OF = MappingProxyType({w.name: name for name, group in GROUPS.items() for w in group})
WORKLOADS: Mapping[str, Workload] = MappingProxyType({w.name: w for group in GROUPS.values() for w in group})
