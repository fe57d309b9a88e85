"""How sensitivity is told: by layer, by unit, and the largest partial derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpengine.explain.passing import EXPLODING, SATURATED, VANISHING, LayerSensitivity
from bpengine.explain.words import Words, aligned, shown, words

if TYPE_CHECKING:
    from bpengine.explain.sensitivity import Sensitivity


def sensitivity_text(told: Sensitivity, lang: str, largest: int) -> str:
    """Return the ranking and the verdicts as text."""
    return "\n".join(_lines(told, words(lang), largest))


def _lines(told: Sensitivity, say: Words, largest: int) -> Iterator[str]:
    yield say("sens_title", loss=shown(told.loss))
    if told.first_bad:
        yield say("bad", cause=told.first_bad.told(say))
    yield f"\n{say('by_layer')}"
    heads = tuple(say(f"head_{h}") for h in ("layer", "norm", "rms", "ratio", "verdict"))
    yield from aligned(heads, [_layer_cells(layer, say) for layer in told.layers])
    marked = [u for u in told.units if u.verdict]
    if marked:
        yield f"\n{say('by_unit')}"
        yield from (f"  {say('next_unit', unit=u.unit, place=u.place)}: {say(u.verdict)}" for u in marked[:largest])
        if len(marked) > largest:
            yield f"  ... {len(marked) - largest}"
    yield f"\n{say('by_parameter')}"
    heads = ("#", *(say(f"head_{h}") for h in ("parameter", "value", "partial", "share")))
    rows = [
        (str(i + 1), p.label, shown(p.value, 6), shown(p.partial, 6), f"{p.share:.2%}")
        for i, p in enumerate(told.ranked(largest))
    ]
    yield from aligned(heads, rows)
    yield ""
    yield from (say("dead_means"), say("saturated_means", limit=SATURATED))
    yield say("vanishing_means", low=VANISHING, high=EXPLODING)


def _layer_cells(layer: LayerSensitivity, say: Words) -> tuple[str, ...]:
    words_ = [say(layer.verdict)] if layer.verdict else []
    for kind, units in (("dead", layer.dead), ("saturated", layer.saturated)):
        words_ += [f"{say(kind)}: {len(units)}"] if units else []
    norm = "-" if layer.norm is None else shown(layer.norm, 6)
    return f"{layer.place} {layer.kind}", norm, shown(layer.rms, 6), shown(layer.ratio, 4), ", ".join(words_) or "-"
