"""The form of a pass on a GPU, one of three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bpengine_steps.ir import FusionGroup, axes


def form(group: FusionGroup) -> Literal["rows", "columns", "flat"]:
    """Return whether a pass handles whole rows, sums columns, or does neither."""
    small = [
        n for n in group.nodes if n.op == "reduce" or (n.op in ("ufunc", "finish", "dot") and len(axes(n.shape)) < 2)
    ]
    sums = {n.info[1] for n in group.nodes if n.op == "partial"}
    if len(group.shape) == 2 and (small or sums == {"first", "all"}):
        return "rows"
    return "columns" if "first" in sums else "flat"


def flat_call(groups: Sequence[FusionGroup]) -> bool:
    """Tell whether groups may be one call: threads over elements, with separate blocks for each group."""
    return all(g.kind in ("tail", "copy") or _joining(g) or (g.kind == "pass" and form(g) == "flat") for g in groups)


def _joining(group: FusionGroup) -> bool:
    return group.kind == "single" and group.nodes[0].op == "concat"
