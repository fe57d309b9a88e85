"""How sensitivity is told: by layer, by unit, and the largest partial derivatives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bpengine.explain.gradient_flow.health import EXPLODING, SATURATED, VANISHING, LayerSensitivity, UnitSensitivity
from bpengine.i18n.translate import Words, indented_table, shown, words

if TYPE_CHECKING:
    from bpengine.explain.gradient_flow.sensitivity import Sensitivity


def sensitivity_text(told: Sensitivity, lang: str, largest: int) -> str:
    """Return the ranking and the verdicts as text."""
    return "\n".join(_lines(told, words(lang), largest))


def _lines(told: Sensitivity, say: Words, largest: int) -> Iterator[str]:
    yield say("sens_title", loss=shown(told.loss))
    if told.first_bad:
        yield say("bad", cause=told.first_bad.told(say))
    yield f"\n{say('by_layer')}"
    heads = tuple(say(f"head_{h}") for h in ("layer", "norm", "rms", "ratio", "verdict"))
    yield from indented_table(heads, [_layer_cells(layer, say) for layer in told.layers])
    units = _ranked(told.units)
    yield f"\n{say('by_unit')}"
    heads = tuple(say(f"head_{h}") for h in ("unit", "norm", "verdict"))
    yield from indented_table(heads, [_unit_cells(unit, say) for unit in units[:largest]])
    if len(units) > largest:
        yield f"  ... {len(units) - largest}"
    yield f"\n{say('by_parameter')}"
    heads = ("#", *(say(f"head_{h}") for h in ("parameter", "value", "partial", "share")))
    rows = [
        (str(i + 1), p.label, shown(p.value, 6), shown(p.partial, 6), f"{p.share:.2%}")
        for i, p in enumerate(told.ranked(largest))
    ]
    yield from indented_table(heads, rows)
    yield ""
    yield from (say("dead_means"), say("saturated_means", limit=SATURATED))
    yield say("vanishing_means", low=VANISHING, high=EXPLODING)


def _ranked(units: Sequence[UnitSensitivity]) -> list[UnitSensitivity]:
    """Return the units that have parameters or a verdict: those with a verdict first, then by the norm of their gradient."""

    def order(unit: UnitSensitivity) -> tuple[bool, float]:
        norm = 0.0 if unit.norm is None else unit.norm
        return not unit.verdict, -norm if math.isfinite(norm) else -math.inf

    return sorted((u for u in units if u.verdict or u.norm is not None), key=order)


def _unit_cells(unit: UnitSensitivity, say: Words) -> tuple[str, ...]:
    norm = "-" if unit.norm is None else shown(unit.norm, 6)
    return say("next_unit", unit=unit.unit, place=unit.place), norm, say(unit.verdict) if unit.verdict else "-"


def _layer_cells(layer: LayerSensitivity, say: Words) -> tuple[str, ...]:
    words_ = [say(layer.verdict)] if layer.verdict else []
    for kind, units in (("dead", layer.dead), ("saturated", layer.saturated)):
        words_ += [f"{say(kind)}: {len(units)}"] if units else []
    norm = "-" if layer.norm is None else shown(layer.norm, 6)
    return f"{layer.place} {layer.kind}", norm, shown(layer.rms, 6), shown(layer.ratio, 4), ", ".join(words_) or "-"
