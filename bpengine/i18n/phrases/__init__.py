"""The engine's phrases by subject, each in English and Brazilian Portuguese, side by side."""

from __future__ import annotations

from bpengine.i18n.phrases.causes import CAUSES, RULES
from bpengine.i18n.phrases.graph import GRAPH
from bpengine.i18n.phrases.heads import HEADS
from bpengine.i18n.phrases.receipts import RECEIPTS
from bpengine.i18n.phrases.terms import TERMS
from bpengine.i18n.phrases.unit import UNIT
from bpengine.i18n.phrases.views import VIEWS

PHRASES: dict[str, tuple[str, str]] = {**UNIT, **TERMS, **HEADS, **VIEWS, **GRAPH, **CAUSES, **RULES, **RECEIPTS}

__all__ = ["PHRASES"]
