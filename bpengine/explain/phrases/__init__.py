"""The room's phrases by what they tell of, each in English and Brazilian Portuguese, side by side."""

from __future__ import annotations

from bpengine.explain.phrases.causes import CAUSES, RULES
from bpengine.explain.phrases.graph import GRAPH
from bpengine.explain.phrases.heads import HEADS
from bpengine.explain.phrases.receipts import RECEIPTS
from bpengine.explain.phrases.terms import TERMS
from bpengine.explain.phrases.unit import UNIT
from bpengine.explain.phrases.views import VIEWS

PHRASES: dict[str, tuple[str, str]] = {**UNIT, **TERMS, **HEADS, **VIEWS, **GRAPH, **CAUSES, **RULES, **RECEIPTS}

__all__ = ["PHRASES"]
