"""The suites under bench/ run: every kernel, a step, an epoch, at their smallest size, with nothing timed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.thorough
def test_the_suites_run():
    """All of them on NumPy, and on JAX as many as there is time for."""
    chosen = "(numpy and not cold) or (jax and (dense or softmax_cross_entropy or epoch))"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "bench",
        "--tiny",
        "--benchmark-disable",
        "-q",
        "-k",
        chosen,
        "-p",
        "no:xdist",
    ]
    done = subprocess.run([*command, "-p", "no:cacheprovider"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    assert int(done.stdout.rpartition("\n")[0].rpartition("\n")[2].split()[0]) > 150
