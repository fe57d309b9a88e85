"""Reason: why a line of a receipt does not follow, told in either language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bpengine.i18n.translate import Words


@dataclass(frozen=True)
class Reason:
    """A phrase and its values; a value may be a reason itself."""

    key: str
    values: Mapping[str, object]

    def told(self, say: Words) -> str:
        """Return it as `say` speaks."""
        return say(self.key, **{n: v.told(say) if isinstance(v, Reason) else v for n, v in self.values.items()})


def reason(key: str, **values: object) -> Reason:
    """Return the reason "receipt_" + key."""
    return Reason(f"receipt_{key}", values)


class DoesNotFollow(Exception):
    """A line asks for something that its inputs and options do not determine, or holds something else."""

    def __init__(self, why: Reason) -> None:
        super().__init__(why)
        self.why = why
