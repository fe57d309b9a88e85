"""Files that are damaged at random: each is read, or ends with exit code 2 and one line that names it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COUNT, LONG = 60, 1000
CHILD = """
import io, json, sys, time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from bpengine.cli import main
from tests.peak import peak_kilobytes
from tests.tables.mutations import mutants
found = []
for arguments in mutants(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])):
    said, began = io.StringIO(), time.perf_counter()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        code = main(arguments)
    lines = [line for line in said.getvalue().splitlines() if not line.startswith("bpengine: warning: ")]
    found.append((Path(arguments[1]).name, code, lines, time.perf_counter() - began))
print(json.dumps([found, peak_kilobytes()]))
"""


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(("count", "seed"), [(COUNT, 0), (LONG, 1), (LONG, 2)])
def test_damaged_files_end_with_one_line(tmp_path: Path, count: int, seed: int) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(count), str(seed)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], timeout=900
    )
    endings, kilobytes = json.loads(done.stdout)
    assert len(endings) == count
    for name, code, lines, seconds in endings:
        assert code == 0 or (code == 2 and len(lines) == 1 and name in lines[0]), (name, code, lines)
        assert seconds < 20, name
    assert sum(code == 2 for _, code, _, _ in endings) > count // 2
    assert kilobytes < 2**20
