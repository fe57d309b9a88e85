"""The result of `paths`: every path from the loss to a parameter, factor by factor, their sum, and the text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from bpengine.explain.result import ExplainResult, translator_for
from bpengine.explain.terms.sums import ULPS, Term, allowed
from bpengine.explain.trace.nonfinite import NonFiniteValue
from bpengine.explain.units.text import back_label
from bpengine.i18n.translate import Translate, format_factor, format_number
from bpengine.output.json_values import json_object


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One factor of a path: the derivative of the output of `kernel` in layer `place`, at a unit and row."""

    kernel: str
    place: str
    route: str
    unit: int
    row: int
    value: float


@dataclass(frozen=True)
class Path:
    """One way from the loss to a weight: the factors, the loss first, and their product."""

    factors: tuple[Factor, ...]
    product: float


@dataclass(frozen=True, kw_only=True)
class Paths(ExplainResult):
    """The chain rule of one parameter: total = the paths' products + rest; gradient is the engine's value.

    rows: the rows of the batch that are summed over. count: the number of paths; paths: the largest of them. all_paths: the
    sum of all, computed without the backward pass. gradient: the engine's, without penalty (for single rows, the sum of
    input x dL/dz, computed here, since the engine sums over the whole batch); penalty: the gradient of the penalties.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> (path,) = bp.explain.paths(model, [[2.0]], [[5.0]], "0.weight[0,0]").paths
    >>> [factor.value for factor in path.factors], path.product
    ([2.0, 1.0, 2.0], 4.0)
    """

    _text_first: ClassVar = True

    name: str
    rows: tuple[int, ...]
    count: int
    paths: tuple[Path, ...]
    rest: float
    all_paths: float
    gradient: float
    penalty: float
    magnitude: float
    depth: int
    eps: float
    first_bad: NonFiniteValue | None = None

    @property
    def agrees(self) -> bool:
        """True when the sum of all paths is the engine's gradient within rounding: one rounding per factor and per sum."""
        ulps = self.depth * max(ULPS, 0.5 * math.sqrt(min(self.count, 1e6))) + allowed(len(self.rows))
        return bool(abs(self.all_paths - self.gradient) <= ulps * self.eps * self.magnitude)

    def text(self, lang: str | None = None) -> str:
        """Return the paths as text, in English or Portuguese."""
        translate = translator_for(lang)
        lines = [translate("path_title", name=self.name, count=self.count)]
        lines += [translate("bad", cause=self.first_bad.translated(translate))] if self.first_bad else []
        for path in self.paths:
            text = " x ".join(format_factor(f.value, 6) for f in path.factors)
            lines += [f"  {_route(path, translate)}", f"    {text} = {format_number(path.product)}"]
        if self.count > len(self.paths):
            lines.append(f"  {translate('path_rest', count=self.count - len(self.paths))}: {format_number(self.rest)}")
        verdict = translate("path_agree" if self.agrees else "path_differ")
        lines.append(f"  {translate('path_all')} = {format_number(self.all_paths)}")
        lines.append(
            f"  {translate('path_engine')} = {format_number(self.gradient)}"
            + (f": {verdict}" if not self.first_bad else "")
        )
        if self.penalty:
            lines.append(f"  ({translate('path_penalty', value=format_number(self.penalty))})")
        return "\n".join(lines)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per factor: pandas.DataFrame(paths.to_rows())."""
        return [
            {"path": i, "link": k, **vars(f), "product": path.product}
            for i, path in enumerate(self.paths)
            for k, f in enumerate(path.factors)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        paths = [{"product": p.product, "factors": [vars(f) for f in p.factors]} for p in self.paths]
        bad = self.first_bad and str(self.first_bad)
        return json_object({**vars(self), "paths": paths, "agrees": self.agrees, "first_bad": bad})


def _route(path: Path, translate: Translate) -> str:
    """Name the units and layers of a path, from the loss to the weight."""
    return " <- ".join(_station(f, translate) for f in path.factors)


def _station(f: Factor, translate: Translate) -> str:
    if f.route == "loss":
        return translate("factor_loss", unit=f.unit, row=f.row)
    if f.route == "input":
        return translate("factor_input", row=f.row)
    return back_label(
        Term(
            kernel=f.kernel,
            place=f.place,
            route=f.route,
            unit=f.unit,
            row=f.row,
            left=f.value,
            right=1.0,
            product=f.value,
        ),
        translate,
    )
