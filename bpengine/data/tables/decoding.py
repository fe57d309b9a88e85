"""Text in another encoding than was said: which byte is the first that is none, and the cure."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bpengine.data.tables.byte_streams import opened
from bpengine.data.tables.layout import TextOptions
from bpengine.data.validation.reading import PIECE
from bpengine.errors import DataError


@contextmanager
def opened_text(file: Path, shown: str, options: TextOptions) -> Iterator[BinaryIO]:
    """Open a file of text for reading its bytes, decompressed, within its limits.

    Raises: DataError with the cure where the block raises UnicodeError, and what `opened` raises.
    """
    try:
        with opened(file, shown, encoding=options.encoding, max_bytes=options.max_bytes) as stream:
            yield stream
    except UnicodeError as error:
        at, reason = first_wrong_byte(file, shown, options) or (None, str(error))
        place = "" if at is None else f" at byte {at:,}"
        raise DataError(
            f"{shown} is not text in {options.encoding}{place}: {reason}. Name its encoding with --encoding "
            "(encoding=): latin-1 or cp1252 for Western Europe, utf-16 for some exports of spreadsheets."
        ) from None


def first_wrong_byte(file: Path, shown: str, options: TextOptions) -> tuple[int, str] | None:
    """Return the number of the first byte, from 0, that is no text in the encoding, and why; None where there is none."""
    decoder = codecs.getincrementaldecoder(options.encoding)()
    before = 0
    with opened(file, shown, encoding=options.encoding, max_bytes=options.max_bytes) as stream:
        try:
            while piece := stream.read(PIECE):
                before += len(piece)
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:  # its bytes begin with those that the decoder has kept of the piece before
            return before - len(error.object) + error.start, error.reason
        except UnicodeError:
            return None
    return None
