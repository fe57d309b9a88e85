"""CONTRIBUTING's recipes, followed literally in a temporary copy: a kernel by two files, a backend by a package of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

KERNEL = '''"""Square root of x^2 + 1, minus 1: quadratic near 0, linear far away."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Namespace, elementwise


def pseudo_abs_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = sqrt(x^2 + 1) - 1."""
    return xp.sqrt(x * x + 1.0) - 1.0, x


def pseudo_abs_bwd(xp: Namespace, x: Array, dy: Array) -> Array:
    """Compute dx = dy x / sqrt(x^2 + 1)."""
    return dy * x / xp.sqrt(x * x + 1.0)


KERNEL = elementwise(
    "pseudo_abs",
    pseudo_abs_fwd,
    pseudo_abs_bwd,
    flops=(4, 5),
    formula={"y": "xp.sqrt(x**2 + 1) - 1", "dx": "dy * x / xp.sqrt(x**2 + 1)"},
    source="Charbonnier, Blanc-Feraud, Aubert, Barlaud, ICIP 1994",
    analytic=True,
)
'''
USES_KERNEL = """
import json
import numpy as np
import bpengine as bp
from bpengine.explain import paths, receipt, figures, graph
from bpengine.explain.page import page
from bpengine.explain.receipts.verify import verify_lines
from bpengine_numpy import NumpyBackend

class Compiled(NumpyBackend):
    patience = float("-inf")

class Eager(NumpyBackend):
    patience = float("inf")

x, y = np.random.default_rng(0).normal(size=(8, 3)), np.arange(8.0)[:, None] / 8
network = bp.Network(3, [bp.Dense(4, "pseudo_abs"), bp.Dense(1)], "mean_squared_error")
models = [bp.Model(network, backend("float64"), "float64") for backend in (Compiled, Eager)]
losses = [m.fit(x, y, steps=5).loss for m in models]
assert np.array_equal(*losses), losses
model = models[1]
assert model.check(x, y).passed
explained = bp.explain(model, x, y, layer=0, unit=1)
assert explained.adds_up and "pseudo_abs" in explained.text() and "pseudo_abs" in explained.text("pt")
assert "they agree" in paths(model, x, y, "0.weight[0,0]").text()
assert verify_lines(receipt(model.trace(x, y))).ok
assert "pseudo_abs" in graph(model, x, y).dot()
assert "pseudo_abs" in page(model, x, y, steps=1).html()
figures.network(model, x, y, layer=0, unit=0)
print("all of it works")
"""
BACKEND = '''from __future__ import annotations

from typing import Any

import numpy as np

from bpengine.backend import Availability, Backend, as_host


class MyBackend(Backend):
    """NumPy under another name, with nothing but what a backend must have."""

    name = "mylib"

    def __init__(self, precision: str = "float32", device: str | None = None) -> None:
        super().__init__(precision, device)
        self.xp, self.device = np, "cpu"

    @classmethod
    def availability(cls) -> Availability:
        return Availability("ready", "mylib 1.0")

    def asarray(self, x: Any, dtype: Any = None, *, copy: bool = True) -> Any:
        return np.array(as_host(x), dtype=dtype, order="C", copy=True if copy else None)

    def to_numpy(self, x: Any) -> Any:
        return np.asarray(x)

    def copy(self, state: Any) -> Any:
        if isinstance(state, dict):
            return {name: self.copy(part) for name, part in state.items()}
        if isinstance(state, (list, tuple)):
            return type(state)(self.copy(part) for part in state)
        return state.copy()

    def compile(self, step: Any, *, donate: Any = ()) -> Any:
        return step

    def take(self, array: Any, rows: Any) -> Any:
        return np.take(array, rows, axis=0)

    def synchronize(self, *arrays: Any) -> None:
        pass

    def memory(self) -> dict[str, int]:
        return {}
'''
USES_BACKEND = """
import bpengine as bp
xor = bp.data.load("xor")
network = bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "half_sum_squares")
assert "mylib" in bp.backend_names(), bp.backend_names()
report = bp.compare_backends(network, xor.x, xor.y, backends=["numpy", "mylib"])
assert report.passed, report
print("all of it works")
"""


def run(code: str, *paths: Path) -> str:
    """Run code in a process that finds its packages in these folders first."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "MPLBACKEND": "agg"}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # several would have it say that the machine is busy
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=paths[0], capture_output=True, text=True, check=False
    )
    return ended.stdout + ended.stderr


def with_kernel(folder: Path, *, listed: bool = True) -> list[Path]:
    """Copy the engine and add a kernel by its file and its line; return the folders to find it in."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("bpengine", "backends"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    kernels = folder / "bpengine" / "kernels"
    (kernels / "pseudo_abs.py").write_text(KERNEL, encoding="utf-8")
    table = (kernels / "__init__.py").read_text(encoding="utf-8")
    assert "from bpengine.kernels import (\n" in table
    assert re.search(r"_ACTIVATIONS = \(\n", table)
    table = table.replace("from bpengine.kernels import (\n", "from bpengine.kernels import (\n    pseudo_abs,\n")
    if listed:
        table = table.replace("_ACTIVATIONS = (\n", "_ACTIVATIONS = (\n    pseudo_abs,\n")
    (kernels / "__init__.py").write_text(table, encoding="utf-8")
    return [folder, folder / "backends"]


def test_new_kernel_needs_its_file_and_a_line_in_the_table_alone(tmp_path: Path) -> None:
    assert run(USES_KERNEL, *with_kernel(tmp_path)).strip().endswith("all of it works")


def test_a_kernel_that_is_not_in_the_table_is_not_known(tmp_path: Path) -> None:
    assert "unknown activation 'pseudo_abs'" in run(USES_KERNEL, *with_kernel(tmp_path, listed=False))


@pytest.mark.parametrize("announced", [True, False])
def test_new_backend_needs_a_package_with_an_entry_point_alone(tmp_path: Path, announced: bool) -> None:
    (tmp_path / "my_package.py").write_text(BACKEND, encoding="utf-8")
    about = tmp_path / "mylib-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mylib\nVersion: 1.0\n", encoding="utf-8")
    if announced:
        (about / "entry_points.txt").write_text("[bpengine.backends]\nmylib = my_package:MyBackend\n", encoding="utf-8")
    printed = run(USES_BACKEND, tmp_path, ROOT, ROOT / "backends")
    assert printed.strip().endswith("all of it works") == announced, printed
