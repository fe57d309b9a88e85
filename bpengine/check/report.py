"""What the reports of this room share: a verdict, a table, notes and JSON, told in the same way by Python and the command."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar


class Outcome(ABC):
    """A finding that can be printed. `str()` gives all of it, `to_dict()` gives it as plain values for JSON."""

    heads: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def passed(self) -> bool:
        """True when nothing disagrees."""

    @abstractmethod
    def verdict(self) -> str:
        """Return the finding in a line."""

    @abstractmethod
    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, under `heads`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""

    def findings(self) -> list[str]:
        """Return a sentence for everything that is wrong."""
        return []

    def notes(self) -> list[tuple[str, str]]:
        """Return what the table does not say, by name."""
        return []

    def table(self) -> str:
        """Return the table as plain text."""
        lines: list[Sequence[str]] = [self.heads, *self.rows()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.heads))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)

    def __str__(self) -> str:
        parts = [[self.verdict()], self.findings(), [self.table()], [f"{name}: {text}" for name, text in self.notes()]]
        return "\n\n".join("\n".join(part) for part in parts if part)


def finite(value: Any) -> Any:
    """Return a tree of plain values in which a number that is not finite is None."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value
