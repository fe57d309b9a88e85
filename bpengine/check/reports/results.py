"""Single results of a check: one array against one oracle, the kinks, the oracles used, the faulty call, the derivatives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from bpengine.i18n.counted_nouns import count_of

GIVEN, PERTURBED = "given", "perturbed"  # the two points of a check
# what a sentence calls an oracle; a single word in it is taken for a name
SPOKEN = {"differences": "finite differences"}


@dataclass(frozen=True)
class WorstElement:
    """The element with the largest error: its name in words, both values, and what that error looks like."""

    element: str
    hand: float
    reference: float
    cause: str

    @property
    def ratio(self) -> float:
        """Hand over reference."""
        return self.hand / self.reference if self.reference else math.inf

    def text(self, oracle: str) -> str:
        """Return the sentence of the report."""
        oracle = "reference in float64" if oracle.startswith("own") else SPOKEN.get(oracle, oracle)
        values = f"hand {self.hand:.4g}, {oracle} {self.reference:.4g}, ratio {self.ratio:.4g}"
        return f"{self.element}: {values}" + (f": {self.cause}" if self.cause else "")


@dataclass(frozen=True, kw_only=True)
class ArrayResult:
    """One array against one oracle.

    error: the largest difference relative to the largest element; ulp: the same in units of the last place of that
    element; compared: how many numbers were compared; order: of the Taylor remainder, where there is one; left_out:
    comparisons that a kink made impossible at the point; aside: those of them made at a nearby point instead, which count as
    compared; elements: names of those left out, up to a hundred; ill: comparisons that rounding or curvature made
    uninformative; point: at which of the two points it was made, GIVEN or PERTURBED.
    """

    array: str
    oracle: str
    error: float
    ulp: float
    tolerance: float
    compared: int
    passed: bool
    worst: WorstElement | None = None
    order: float | None = None
    left_out: int = 0
    ill: int = 0
    aside: int = 0
    elements: tuple[str, ...] = ()
    point: str = GIVEN


def note_nearby_point(result: ArrayResult) -> ArrayResult:
    """Note in the worst element's name that it was checked at a nearby point."""
    worst = result.worst and replace(result.worst, element=f"{result.worst.element} (at a nearby point, off a kink)")
    return replace(result, worst=worst)


@dataclass(frozen=True)
class OracleUse:
    """Whether an oracle was used, at which precision and on what, or why not and what would help."""

    name: str
    used: bool
    precision: str
    note: str


@dataclass(frozen=True, kw_only=True)
class KinkCounts:
    """Kinks at and around a point.

    exact: elements exactly on a kink that a kernel states; near: others nearer to it than a usual step; kernels: whose
    kinks these are. left_out: comparisons that a kink, stated or not, made impossible at the point; aside: those of them
    made at a nearby point instead; elements: their names.
    """

    exact: int = 0
    near: int = 0
    kernels: tuple[str, ...] = ()
    left_out: int = 0
    aside: int = 0
    elements: tuple[str, ...] = ()

    def __str__(self) -> str:
        whose = f" of {', '.join(self.kernels)}" if self.kernels else ""
        text = (
            f"{count_of(self.exact, 'element')} exactly on a kink{whose} (checked by the kernel's own "
            f"convention), {self.near} near one"
        )
        if not self.left_out:
            return text
        shown, more = "; ".join(self.elements[:3]), self.left_out - len(self.elements[:3])
        shown += f"; and {more} more" if more else ""
        return (
            f"{text}; found near the point and left out: {self.left_out} comparisons ({shown}), "
            f"{self.aside} of them made at a nearby point instead, a thousandth away, where every right backward agrees"
        )


@dataclass(frozen=True)
class FaultyCall:
    """The first call that does not agree with its oracle: where, which function, which result, in words, at which point."""

    place: str
    function: str
    argument: str
    words: str
    point: str = GIVEN

    def __str__(self) -> str:
        where = f"layer {self.place}" if self.place[:1].isdigit() else f"the {self.place}" if self.place else ""
        if self.point == GIVEN:
            return f"{self.function}{' in ' + where if where else ''}, {self.argument}: {self.words}"
        return (
            f"{self.function}{' in ' + where if where else ''}, {self.argument} at the {self.point} point: {self.words}"
        )


@dataclass(frozen=True)
class PerturbedPoint:
    """The perturbed point of a report; the results at it are among the report's other results.

    judged: whether there is such a point; value: of the scalar there; kinks: those around it; note: how it was chosen, or why
    there is none.
    """

    judged: bool = False
    value: float = float("nan")
    kinks: KinkCounts = field(default_factory=KinkCounts)
    note: str = "not asked for"

    def __str__(self) -> str:
        if not self.judged:
            return self.note
        near = f"; kinks: {self.kinks}" if self.kinks.exact or self.kinks.near or self.kinks.left_out else ""
        return f"{self.note}; value {self.value:.6g}{near}"


NOT_ASKED_FOR = PerturbedPoint()


@dataclass(frozen=True, kw_only=True)
class DerivativeResult:
    """One derivative against JAX's: the largest difference, relative to the largest element, and what is allowed."""

    name: str
    reference: str
    compared: int
    error: float
    tolerance: float
    passed: bool

    def text(self) -> str:
        """Return the sentence of the report for one that fails."""
        difference = f"{self.name}: differs from {self.reference} by {self.error:.1e} of its largest element"
        return (
            f"{difference}, {self.tolerance:.1e} is allowed. Outside training the backward is not that of the forward."
        )
