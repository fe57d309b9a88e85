"""The order of turns: rounds in which every contender runs once, in rotating order, and more of them where turns vary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

FEWEST: Final = 3  # rounds that are run whatever the budget
STEADY: Final = 0.15  # spread of the turns of a contender below which no extra round is run
LONGER: Final = 3.0  # extra rounds end after this many times the budget

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Turn(Generic[T]):
    """A turn of `contender`, the one at `place` of its round; share: which part of the planned rounds is done, 0 to 1."""

    contender: T
    place: int
    round_name: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """A plan of `rounds`, fewer (but three) where they take more than `budget_seconds` together.

    Up to `extra` rounds follow while the turns vary, until three times the budget is spent. Whether they follow depends on
    the spread alone, not on who is ahead, and every contender runs in them.

    >>> rotation = Rotation(rounds=2, extra=0, budget_seconds=60.0)
    >>> [(turn.round_name, turn.contender) for turn in rotation.turns("ab", lambda: [])]
    [('round 1 of 2', 'a'), ('round 1 of 2', 'b'), ('round 2 of 2', 'b'), ('round 2 of 2', 'a')]
    """

    rounds: int
    extra: int
    budget_seconds: float

    def turns(self, contenders: Sequence[T], spreads: Callable[[], Sequence[float]]) -> Iterator[Turn[T]]:
        """Yield the turns one by one; spreads() returns how much the turns so far vary, for each contender that counts."""
        began, count = time.perf_counter(), max(1, len(contenders))
        for number in range(self.rounds + self.extra):
            spent = time.perf_counter() - began
            if number >= min(self.rounds, FEWEST) and not self._goes_on(number, spent, spreads):
                return
            first = number % count
            for place, contender in enumerate([*contenders[first:], *contenders[:first]], 1):
                yield Turn(
                    contender=contender,
                    place=place,
                    round_name=f"round {number + 1} of {max(self.rounds, number + 1)}",
                    share=min(1.0, (number + (place - 1) / count) / self.rounds),
                )

    def _goes_on(self, number: int, spent: float, spreads: Callable[[], Sequence[float]]) -> bool:
        if number < self.rounds and spent <= self.budget_seconds:
            return True
        return self.extra > 0 and spent <= LONGER * self.budget_seconds and max(spreads(), default=0.0) > STEADY
