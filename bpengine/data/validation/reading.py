"""What readers of files share: how much is read, and what other libraries raise for damaged bytes.

A small compressed file may hold more than a machine can.
"""

from __future__ import annotations

import csv
import lzma
import zipfile
import zlib
from tokenize import TokenError
from typing import Final

PIECE: Final = 1 << 20
FREE: Final = 64 * 2**20  # decompressed bytes that any compressed file may have
RATIO: Final = 50  # and so many times its own size on top; tables are seldom compressed to less than a twentieth
UNREADABLE: Final = (  # NumPy parses a header as code, hence SyntaxError
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, MemoryError),
    *(OSError, EOFError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, csv.Error),
)
