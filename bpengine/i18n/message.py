"""Message: a phrase by its key with its values, translated when it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bpengine.i18n.translate import Translate


@dataclass(frozen=True)
class Message:
    """A phrase and its values; a value may be a message itself."""

    key: str
    values: Mapping[str, object]

    def translated(self, translate: Translate) -> str:
        """Return the text in the language of `translate`."""
        values = {n: v.translated(translate) if isinstance(v, Message) else v for n, v in self.values.items()}
        return translate(self.key, **values)
