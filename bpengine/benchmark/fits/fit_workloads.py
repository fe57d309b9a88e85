"""Whole fits: the work of a process from its start to the last step, the same for every contender."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from types import MappingProxyType
from typing import Any

from bpengine.benchmark.workloads import EPS, RATES, Workload
from bpengine.errors import ConfigError

DIGITS_ROWS = 1797
SOURCES = ("digits", "drawn", "own")
OWN_FIT = "own-fit"  # the name of the whole fit of a user's rows


@dataclass(frozen=True)
class FitWorkload:
    """Fits of new models in one process: networks with relu, softmax cross-entropy, Adam, float32.

    sizes: those of the networks, used in turn: inputs, units of each layer, outputs. source: the rows are "digits", "drawn"
    from a teacher, or a user's "own". fits: how many models are fitted. calls: how many calls
    of `epochs` epochs each fit has. With several calls, the measure is the median call from the third on, otherwise the
    time from the start of the process to the last step. own_only: only the engine takes part.
    Raises ConfigError for an unknown source, or networks whose numbers of inputs or outputs differ.

    >>> from bpengine.benchmark import FitWorkload
    >>> work = FitWorkload("tiny", "two small fits", ((4, 8, 3),), 16, rows=40, epochs=5, fits=2)
    >>> work.steps, work.sizes_of(1)
    (15, (4, 8, 3))
    """

    name: str
    title: str
    sizes: tuple[tuple[int, ...], ...]
    batch: int
    _: KW_ONLY
    rows: int
    epochs: int
    source: str = "drawn"
    fits: int = 1
    calls: int = 1
    own_only: bool = False
    learning_rate: float = RATES["adam"]

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ConfigError(f"FitWorkload requires source one of {', '.join(SOURCES)}, got {self.source!r}.")
        if len({(sizes[0], sizes[-1]) for sizes in self.sizes}) != 1:
            raise ConfigError(
                "FitWorkload requires networks with the same inputs and outputs, for they share the data."
            )

    @property
    def steps(self) -> int:
        """The steps of one call."""
        return self.epochs * math.ceil(self.rows / self.batch)

    @property
    def by_calls(self) -> bool:
        """True when single calls are timed, and not the process."""
        return self.calls > 1

    def sizes_of(self, number: int) -> tuple[int, ...]:
        """Return the sizes of the network of a fit."""
        return self.sizes[number % len(self.sizes)]

    def step_workload(self, number: int) -> Workload:
        """Return the step of a fit: its network, its initial weights by the seed, and the loss that evaluates it."""
        return Workload(self.name, self.sizes_of(number), self.batch, epoch_steps=self.steps, seed=number)

    def task(self) -> dict[str, Any]:
        """Return the task of a script, ready for JSON."""
        numbers = range(self.fits)
        return {
            "sizes": [self.sizes_of(number) for number in numbers],
            "seeds": list(numbers),
            "batch": self.batch,
            "epochs": self.epochs,
            "calls": self.calls,
            "rate": self.learning_rate,
            "eps": EPS,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)


_DIGITS = ((64, 32, 10),)
# from a user's first fit to a search over many models
FITS: Mapping[str, FitWorkload] = MappingProxyType(
    {
        work.name: work
        for work in (
            FitWorkload(
                "fit-digits",
                "a process that fits the digits for 1,800 steps",
                _DIGITS,
                100,
                rows=DIGITS_ROWS,
                source="digits",
                epochs=100,
            ),
            FitWorkload(
                "fits-same",
                "a process that fits 20 small models of one size",
                _DIGITS,
                100,
                rows=DIGITS_ROWS,
                source="digits",
                epochs=10,
                fits=20,
            ),
            FitWorkload(
                "fits-sizes",
                "a process that fits 20 small models of four sizes in turn",
                tuple((64, units, 10) for units in (16, 24, 32, 48)),
                100,
                rows=DIGITS_ROWS,
                source="digits",
                epochs=10,
                fits=20,
            ),
            FitWorkload(
                "fit-large",
                "a process that fits 60,000 rows of 784 numbers for five epochs",
                ((784, 128, 10),),
                128,
                rows=60_000,
                epochs=5,
            ),
            FitWorkload(
                "fit-again",
                "one model fitted again and again, one epoch of 400 steps a call",
                ((64, 64, 64, 10),),
                32,
                rows=12_800,
                epochs=1,
                calls=22,
            ),
            FitWorkload(
                "fit-first",
                "a process that fits 100 steps, the engine alone",
                _DIGITS,
                72,
                rows=DIGITS_ROWS,
                source="digits",
                epochs=4,
                own_only=True,
            ),
        )
    }
)
QUICK_FITS = ("fit-digits", "fit-again")
