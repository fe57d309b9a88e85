"""NonFiniteValue: where the first non-finite number of a step appears, as text in either language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.result import translator_for
from bpengine.i18n.translate import Translate
from bpengine.ops import Call

AXES = {0: (), 1: ("element",), 2: ("row", "column")}


@dataclass(frozen=True, kw_only=True)
class NonFiniteValue:
    """The first number that is not finite, `bad` of the `size` in its array.

    name: that of a parameter ("0.weight"), or of a result ("y") of `function` in layer `place`; function is "" for a
    parameter. index: its place in the array; value: nan, inf or -inf.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[1e200]]), "mean_squared_error"), dtype="float64")
    >>> cause = model.trace([[1e200]], [[1.0]]).first_bad
    >>> cause.function, cause.place
    ('dense_fwd', '0')
    """

    name: str
    function: str
    place: str
    index: tuple[int, ...]
    value: float
    bad: int
    size: int

    def text(self, lang: str | None = None) -> str:
        """Describe it: "y of dense_fwd in layer 0, row 3, column 5 = inf (1 of 8 values)"."""
        return self.translated(translator_for(lang))

    def translated(self, translate: Translate) -> str:
        """Describe it in the language of `translate`."""
        kind = "layer" if self.place[:1].isdigit() else self.place
        where = translate(f"cause_{kind}", place=self.place) if self.place else ""
        what = translate("cause_result" if self.function else "cause_parameter", name=self.name, function=self.function)
        axes = AXES.get(len(self.index), ("index",) * len(self.index))
        spots = "".join(translate(f"cause_{axis}", i=i) for axis, i in zip(axes, self.index, strict=True))
        return what + where + spots + translate("cause_value", value=self.value, bad=self.bad, size=self.size)

    def __str__(self) -> str:
        return self.text()


def first_nonfinite(parameters: Mapping[str, HostArray], calls: Iterable[Call]) -> NonFiniteValue | None:
    """Return the first number that is not finite, in a parameter or in a call's results; None without one."""
    for name, array in parameters.items():
        if value := _first_in(array, name, "", ""):
            return value
    for call in calls:
        for name, array in call.named_results().items():
            if value := _first_in(np.asarray(array), name, call.function, call.place):
                return value
    return None


def _first_in(array: HostArray, name: str, function: str, place: str) -> NonFiniteValue | None:
    if not np.issubdtype(array.dtype, np.floating) or np.all(np.isfinite(array)):
        return None
    bad = ~np.isfinite(array)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), array.shape))
    return NonFiniteValue(
        name=name,
        function=function,
        place=place,
        index=index,
        value=float(array[index]),
        bad=int(np.sum(bad)),
        size=array.size,
    )
