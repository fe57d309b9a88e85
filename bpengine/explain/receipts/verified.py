"""Verified: the result of verifying a receipt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bpengine.explain.result import ExplainResult, translator_for
from bpengine.i18n.message import Message


@dataclass(frozen=True)
class Verified(ExplainResult):
    """The result of a verification: whether every line follows; the first line that does not, and why.

    >>> from tempfile import TemporaryDirectory
    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), dtype="float64")
    >>> with TemporaryDirectory() as folder:
    ...     bp.explain.write_receipt(model.trace([[2.0]], [[5.0]]), f"{folder}/step.jsonl")
    ...     verified = bp.explain.verify(f"{folder}/step.jsonl")
    >>> verified.values > 10
    True
    """

    ok: bool
    lines: int
    values: int
    line: int | None = None
    why: Message | None = None

    @property
    def reason(self) -> str:
        """Why the line does not follow; "" where all do."""
        return "" if self.why is None else _short(self.why.translated(translator_for("en")))

    def text(self, lang: str | None = None) -> str:
        """Return the verdict in words, English or Portuguese."""
        translate = translator_for(lang)
        if self.why is None:
            return translate("receipt_follows", lines=self.lines, values=self.values)
        return translate("receipt_fails", line=self.line, reason=_short(self.why.translated(translate)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"ok": self.ok, "lines": self.lines, "values": self.values, "line": self.line, "reason": self.reason}

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict: the verdict."""
        return [self.to_dict()]


def _short(text: str) -> str:
    """Return a reason shortened to a few lines, since it may quote the receipt."""
    return text if len(text) <= 1000 else f"{text[:1000]} ..."
