"""What importing the engine loads, what its source imports, and which names it shows."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import bpengine as bp

ENGINE = Path(bp.__file__).parent
SOURCES = sorted(ENGINE.rglob("*.py"))
HEAVY = {
    *("jax", "jaxlib", "cupy", "torch", "array_api_compat", "rich", "typer", "matplotlib"),
    *("sklearn", "scipy", "pandas", "pyarrow", "safetensors"),
}
ARRAY_LIBRARIES = {"cupy", "jax", "jaxlib", "torch", "array_api_compat"}


def test_importing_the_engine_loads_numpy_only() -> None:
    code = "import sys, bpengine; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"bpengine", "numpy"} <= set(loaded)
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ENGINE)))
def test_no_array_library_is_imported_anywhere_in_a_file(path: Path) -> None:
    forbidden = ARRAY_LIBRARIES | ({"numpy"} if "kernels" in path.relative_to(ENGINE).parts else set())
    for line, library in imported(path.read_text(encoding="utf-8")):
        assert library not in forbidden, f"{path}:{line} imports {library}"


def test_the_search_for_imports_finds_every_way_to_import() -> None:
    code = (
        "import jax.numpy as jnp\n"
        "def f():\n    from cupy import array\n    import_module('torch')\n    __import__('jaxlib.xla')\n"
        "from . import numpy\nfrom bpengine import kernels\n"
    )
    assert sorted(imported(code)) == [(1, "jax"), (3, "cupy"), (4, "torch"), (5, "jaxlib"), (7, "bpengine")]


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level name) for every import at any depth, by statement or by a call with a constant name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value).split(".")[0]


def test_all_is_sorted_and_without_repetition() -> None:
    def place(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name  # constants, classes, functions

    assert bp.__all__ == sorted(set(bp.__all__), key=place)


@pytest.mark.parametrize("name", bp.__all__)
def test_every_name_of_all_exists(name: str) -> None:
    assert getattr(bp, name) is not None


def test_every_public_name_is_in_all() -> None:
    public = {n for n, v in vars(bp).items() if not n.startswith("_") and not isinstance(v, ModuleType)}
    modules = {n for n in bp.__all__ if isinstance(getattr(bp, n), ModuleType)}
    assert public == set(bp.__all__) - modules
