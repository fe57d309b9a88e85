"""Train from a large table on several processes, and note what each of them does with its rows.

    mpiexec -n 2 python -m tests.distributed.tables FOLDER OPTIONS_OF_TRAIN ...

Every table counts as large. Each process writes FOLDER/RANK.json: {"converted": times, "encoded": [[start, stop], ...]}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import bpengine as bp
from bpengine.cli import main
from bpengine.data.features import encoding, shared_file
from bpengine.data.tables import conversion


def train(folder: Path, *options: str) -> int:
    """Train as the command line does."""
    noted: dict[str, Any] = {"converted": 0, "encoded": []}
    convert, fill = conversion.convert, encoding._fill

    def counted(*arguments: Any, **settings: Any) -> Path:
        noted["converted"] += 1
        return convert(*arguments, **settings)

    def listened(target: Any, *arguments: Any) -> Any:
        noted["encoded"].append([target.rows.start, target.rows.stop])
        return fill(target, *arguments)

    patch = pytest.MonkeyPatch()
    patch.setattr(conversion, "convert", counted)
    patch.setattr(encoding, "_fill", listened)
    patch.setattr(conversion, "ABOVE", 1000)
    patch.setattr(shared_file, "IN_MEMORY", 1000)
    code = main(["train", *options])
    (folder / f"{bp.world().rank}.json").write_text(json.dumps(noted))
    return code


if __name__ == "__main__":
    sys.exit(train(Path(sys.argv[1]), *sys.argv[2:]))
