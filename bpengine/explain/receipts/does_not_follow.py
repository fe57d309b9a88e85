"""Why a line of a receipt does not follow from the lines before it; several files here raise this, `verify` catches it."""

from __future__ import annotations

from bpengine.i18n.message import Message


def reason(key: str, **values: object) -> Message:
    """Return the phrase "receipt_" + key with its values."""
    return Message(f"receipt_{key}", values)


class DoesNotFollow(Exception):
    """A line whose values do not follow from its inputs and options."""

    def __init__(self, why: Message) -> None:
        super().__init__(why)
        self.why = why
