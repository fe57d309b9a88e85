"""The functions of the kernel files as a page quotes them: whole, less their docstrings."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from bpengine import kernels


def kernel_functions() -> dict[str, str]:
    """Return every function of `bpengine.kernels` by name; of the private ones those whose name is in one file only."""
    modules = [import_module(f"{kernels.__name__}.{m.name}") for m in iter_modules(kernels.__path__)]
    defined = [pair for module in modules for pair in functions(inspect.getsource(module))]
    times = Counter(name for name, _ in defined)
    assert all(n == 1 or name.startswith("_") for name, n in times.items()), "two kernel files define one public name"
    return {name: lines for name, lines in defined if times[name] == 1}


def functions(code: str) -> Iterator[tuple[str, str]]:
    """Yield each function at the top of a source text, with its lines but for the docstring."""
    lines = code.splitlines()
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef):
            drop = range(0)
            if ast.get_docstring(node):
                drop = range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
            kept = (lines[n - 1] for n in range(node.lineno, (node.end_lineno or 0) + 1) if n not in drop)
            yield node.name, "\n".join(kept)
