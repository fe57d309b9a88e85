"""`python -m tests.language`: what is not translated, and translations of what stands nowhere; `--update` writes the file."""

from __future__ import annotations

import sys

from tests.language.po_writer import PO, catalogue, missing, stale, write, wrong_slots


def main() -> int:
    """Print the sentences without translation, by file, and the stale entries; return 1 where there are any."""
    if "--update" in sys.argv[1:]:
        write(catalogue())
    lacking, gone, wrong = missing(), stale(), wrong_slots()
    for text, files in lacking.items():
        print(f"missing  {files[0]}: {text!r}")
    for text in gone:
        print(f"stale    {text!r}")
    for text in wrong:
        print(f"values   {text!r}")
    print(f"{PO}: {len(lacking)} missing, {len(gone)} stale, {len(wrong)} with other values")
    return 1 if lacking or gone or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
