"""Which of its three forms a pass has on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bpengine_steps.ir import FusionGroup, axes


def form(group: FusionGroup) -> Literal["rows", "columns", "flat"]:
    """Say whether a pass looks at a row as a whole, sums columns, or does neither."""
    small = [n for n in group.nodes if n.op == "reduce" or (n.op in ("ufunc", "finish") and len(axes(n.shape)) < 2)]
    sums = {n.info[1] for n in group.nodes if n.op == "partial"}
    if len(group.shape) == 2 and (small or sums == {"first", "all"}):
        return "rows"
    return "columns" if "first" in sums else "flat"


def flat_call(groups: Sequence[FusionGroup]) -> bool:
    """Say whether groups may be one call: threads go over elements, blocks of its own for each."""
    return all(g.kind in ("tail", "copy") or _joining(g) or (g.kind == "pass" and form(g) == "flat") for g in groups)


def _joining(group: FusionGroup) -> bool:
    return group.kind == "single" and group.nodes[0].op == "concat"
