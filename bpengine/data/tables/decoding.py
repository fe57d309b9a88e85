"""Text in another encoding than the stated one: the first invalid byte, and the cure."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpengine.data.tables.byte_streams import MeasuredReader, opened
from bpengine.data.tables.layout import TextOptions
from bpengine.data.validation.reading import PIECE
from bpengine.errors import DataError


@contextmanager
def opened_text(file: Path, shown: str, options: TextOptions) -> Iterator[MeasuredReader]:
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
    """Return the position, from 0, of the first byte that is invalid in the encoding, and why; None if there is none."""
    decoder = codecs.getincrementaldecoder(options.encoding)()
    before = 0
    with opened(file, shown, encoding=options.encoding, max_bytes=options.max_bytes) as stream:
        try:
            while piece := stream.read(PIECE):
                before += len(piece)
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        # its bytes begin with those that the decoder has kept from the piece before
        except UnicodeDecodeError as error:
            return before - len(error.object) + error.start, error.reason
        except UnicodeError:
            return None
    return None
