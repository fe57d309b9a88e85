"""The report of `compare_backends`: one difference per array and backend, and the first beyond its tolerance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from bpengine.check.reports.printable import PrintableReport
from bpengine.i18n.language import localized
from bpengine.output.json_values import json_object


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One array of one backend against the reference: the largest difference relative to the largest element, in ulp."""

    part: str
    array: str
    backend: str
    error: float
    ulp: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """True when the difference is within the tolerance."""
        return self.error <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class Comparison(PrintableReport):
    """What `compare_backends` returns: forward by layer, gradients, parameters after training, in that order.

    >>> network = bp.Network(2, bp.Dense(1), "mean_squared_error")
    >>> comparison = bp.compare_backends(network, [[0.0, 1.0]], [[1.0]], backends=["numpy", "numpy"])
    >>> comparison.passed
    True
    """

    heads: ClassVar = ("part", "array", "backend", "error", "ulp", "tolerance", "agrees")
    network: str
    reference: str
    backends: tuple[str, ...]
    dtype: str
    steps: int
    differences: tuple[Difference, ...]
    missing: tuple[tuple[str, str], ...] = ()  # backends that were left out, and why

    @property
    def passed(self) -> bool:
        """True when every backend agrees with the reference everywhere."""
        return all(d.agrees for d in self.differences)

    @property
    def first(self) -> Difference | None:
        """The first difference beyond its tolerance, in the order of the computation; None without any."""
        return next((d for d in self.differences if not d.agrees), None)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, one row per array and backend, under `heads`."""
        return [
            (d.part, d.array, d.backend, f"{d.error:.1e}", f"{d.ulp:.3g}", f"{d.tolerance:.1e}", "yes" if d.agrees else "NO")
            for d in self.differences
        ]  # fmt: skip

    def verdict(self) -> str:
        """Return in a sentence whether all agree, or the first difference beyond its tolerance."""
        if self.first is None:
            return localized(
                f"passed: {self.reference} and {', '.join(self.backends)} agree in {self.dtype}, {self.network}"
            )
        d = self.first
        return localized(
            f"FAILED: {d.backend} and {self.reference} disagree first in {d.part}, {d.array}: {d.error:.1e} relative, "
            f"{d.ulp:.3g} ulp, where {d.tolerance:.1e} is what rounding explains"
        )

    def notes(self) -> list[tuple[str, str]]:
        """Return what the tolerance is, and which backends were left out."""
        shown = f"how far {self.reference} moves when every kernel call is rounded at random, and the order of its sums"
        left_out = [("not run", f"{name}: {why}") for name, why in self.missing]
        return [("tolerance", f"what rounding in {self.dtype} explains: {shown}"), *left_out]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; what is not finite is None.

        network, reference, backends, dtype, steps, passed; differences: for each array and backend {part, array, backend,
        error, ulp, tolerance, agrees}; first: the first of them that does not agree, or None; missing: {backend: why}.
        """
        rows = [{**asdict(d), "agrees": d.agrees} for d in self.differences]
        first = next((row for row in rows if not row["agrees"]), None)
        return json_object(
            {**asdict(self), "differences": rows, "passed": self.passed, "first": first, "missing": dict(self.missing)}
        )
