"""What importing the engine loads, what its source imports, and which names it shows."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import bpengine as bp

ENGINE = Path(bp.__file__).parent
# the benchmark's peers are the libraries the engine is compared with; each runs in a process of its own
SOURCES = sorted(path for path in ENGINE.rglob("*.py") if "peers" not in path.relative_to(ENGINE).parts)
HEAVY = {
    *("jax", "jaxlib", "cupy", "torch", "array_api_compat", "rich", "typer", "matplotlib"),
    *("sklearn", "scipy", "pandas", "pyarrow", "safetensors", "onnx", "onnxruntime"),
}
ARRAY_LIBRARIES = {"cupy", "jax", "jaxlib", "torch", "array_api_compat"}


def loaded_after(code: str) -> set[str]:
    """Return the top-level names of the modules that are loaded after running code in a new process."""
    report = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import bpengine",
        "import bpengine\nfor name in bpengine.__all__: getattr(bpengine, name)",
        "from bpengine import *",
    ],
)
def test_importing_the_engine_loads_no_library_but_numpy(code: str) -> None:
    loaded = loaded_after(code)
    assert "bpengine" in loaded
    assert not HEAVY & loaded


def test_a_fit_of_arrays_loads_no_files_no_sets_and_no_explanations() -> None:
    code = (
        "import sys, bpengine as bp\n"
        "model = bp.Model(bp.Network(2, [bp.Dense(1)], 'mean_squared_error'))\n"
        "model.fit([[0.0, 1.0]], [1.0], steps=2)\n"
        "model.predict([[0.0, 1.0]])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "bpengine.data.validation.features" in loaded
    parts = ("dataset", "features", "files", "loading", "named", "synthetic", "tables")
    assert not loaded & {
        "bpengine.explain",
        "bpengine.io",
        "bpengine.summary",
        *(f"bpengine.data.{part}" for part in parts),
    }
    assert "bpengine.training.checkpoints.checkpointer" not in loaded
    assert not loaded & {"importlib.metadata", "urllib.request", "threadpoolctl"}  # which take a tenth of a first fit


def test_data_shows_the_names_that_are_loaded_later() -> None:
    """To people by dir, and to type checkers from the place where they are loaded."""
    assert set(bp.data.__all__) <= set(dir(bp.data))
    (block,) = (n for n in ast.parse(Path(bp.data.__file__).read_text(encoding="utf-8")).body if isinstance(n, ast.If))
    shown = {alias.name: str(n.module) for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert shown == {name: f"bpengine.data.{module}" for name, module in bp.data._MODULE_OF.items()}
    for name, module in shown.items():
        assert getattr(bp.data, name) is getattr(import_module(module), name)
    with pytest.raises(AttributeError, match=r"module 'bpengine\.data' has no attribute 'read_txt'"):
        _ = bp.data.read_txt


def test_training_on_numpy_loads_no_other_array_library() -> None:
    code = (
        "import bpengine as bp\n"
        "model = bp.Model(bp.Network(2, [bp.Dense(1)], 'mean_squared_error'))\n"
        "model.fit([[0.0, 1.0]], [1.0], steps=2)\n"
        "model.predict([[0.0, 1.0]])\n"
    )
    loaded = loaded_after(code)
    assert {"numpy", "bpengine_numpy"} <= loaded
    assert not loaded & (HEAVY | {"bpengine_jax", "bpengine_cupy"})


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


def test_type_checkers_see_the_same_names_from_the_same_places() -> None:
    (block,) = (
        n for n in ast.parse((ENGINE / "__init__.py").read_text(encoding="utf-8")).body if isinstance(n, ast.If)
    )
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert sorted(alias.name for node in imports for alias in node.names) == sorted(bp.__all__)
    for node in imports:
        for alias in node.names:
            assert getattr(bp, alias.name) is getattr(import_module(str(node.module)), alias.name)


def test_nothing_public_is_missing() -> None:
    """What the packages show to users is shown by the package: all but bases and records that nobody makes by hand."""
    shown = {
        n for package in (bp.training, bp.layers) for n in package.__all__ if isinstance(getattr(package, n), type)
    }
    assert shown - set(bp.__all__) == {"Epoch", "Optimizer", "Run", "Schedule", "Shapes"}
    for module, base in (("errors", bp.BpError), ("penalties", bp.L2.__base__)):
        defined = {n: v for n, v in vars(import_module(f"bpengine.{module}")).items() if isinstance(v, type)}
        kinds = {n for n, v in defined.items() if issubclass(v, base) and n != "Penalty"}
        assert kinds
        assert kinds <= set(bp.__all__)


def test_other_names_are_refused_and_listed_names_are_shown() -> None:
    with pytest.raises(AttributeError, match="module 'bpengine' has no attribute 'Dens'"):
        _ = bp.Dens
    assert set(bp.__all__) <= set(dir(bp))
