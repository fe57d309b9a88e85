"""Which library multiplies: NumPy's own, another one for all products, or for each product the faster one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from bpengine_steps.ir import DType

from bpengine.backend import Availability
from bpengine.errors import ConfigError
from bpengine.system import blas
from bpengine_numpy.blas import mkl
from bpengine_numpy.blas.blas_library import BlasLibrary
from bpengine_numpy.blas.fastest import Fastest
from bpengine_numpy.blas.product_call import ProductCall
from bpengine_numpy.blas.product_namespace import Choice


@dataclass(frozen=True)
class OneLibrary:
    """One library for all products that it takes."""

    chosen: BlasLibrary

    def library(self, call: ProductCall, dtype: DType) -> BlasLibrary | None:
        """Return the library, None for a product that only NumPy's own takes."""
        return self.chosen if self.chosen.takes(call, dtype) else None

    def facts(self) -> dict[str, Any]:
        """Return the library's facts."""
        return {"library": self.chosen.facts()}


def choice(name: str, threads: int | None) -> Choice | None:
    """Return the choice of this name for products in so many threads, None where it is NumPy's own library.

    Raises BackendUnavailable where the library is not installed, ConfigError where NumPy multiplies by another one.
    """
    if name == own():
        return None
    if name == "mkl":
        return OneLibrary(mkl.library())
    if name == "openblas":
        built = blas.library()
        raise ConfigError(
            f"backend 'numpy' takes blas='openblas' where NumPy multiplies by OpenBLAS, but here it multiplies by "
            f"{built['name']}. Leave blas out, or install NumPy from its wheel: pip install --force-reinstall numpy"
        )
    # threads of two libraries take turns: those of the one must not wait for work on the cores that the other needs
    return Fastest(mkl.library(sleeps=True), threads) if own() != "mkl" and mkl.availability().ready else None


def libraries() -> dict[str, Availability]:
    """Return the libraries that can be chosen by name, each with whether it can multiply here."""
    built = blas.library()
    numpys = Availability("ready", f"NumPy's own, {built['name']} {built['version']}")
    other = Availability("not installed", f"NumPy multiplies by {built['name']}.")
    return {
        "openblas": numpys if own() == "openblas" else other,
        "mkl": numpys if own() == "mkl" else mkl.availability(),
    }


@cache
def own() -> str:
    """Return the name of NumPy's own library: "openblas", "mkl", or what NumPy calls it."""
    name = str(blas.library()["name"]).lower()
    return next((known for known in ("openblas", "mkl") if known in name), name)
