"""The figure: throughput against batch size and against width, one line per contender, and shares of the roofline.

Matplotlib (the extra "plot") is loaded when a figure is drawn, not before.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bpengine.errors import BackendUnavailable

Record = dict[str, Any]
OWN, OTHERS = (
    ("#c0392b", "#e67e22", "#8e44ad", "#d35400"),
    ("#2c3e50", "#2980b9", "#16a085", "#7f8c8d", "#27ae60", "#34495e", "#95a5a6"),
)
SWEEPS = (("batches", "batch size, network 784-512-256-10"), ("widths", "width w of a w-w-w-10 network, batch 256"))


def available() -> str | None:
    """Return why no figure can be drawn, with the cure, or None."""
    return (
        None if find_spec("matplotlib") else "matplotlib not installed. Install it with: pip install 'bpengine[plot]'"
    )


def draw(record: Record, path: Path) -> None:
    """Draw the record's figure into a file whose ending says the format (.svg, .png); raise without matplotlib."""
    if reason := available():
        raise BackendUnavailable(f"a figure needs {reason}")
    figures: Any = import_module("matplotlib.figure")
    sweeps = [sweep for sweep in SWEEPS if _works(record, sweep[0])]
    figure = figures.Figure(figsize=(6.4 * (len(sweeps) + 1), 4.8), layout="constrained")
    axes = figure.subplots(1, len(sweeps) + 1, squeeze=False)[0]
    styles = _styles(record)
    for axis, (group, label) in zip(axes, sweeps, strict=False):
        _sweep(axis, _works(record, group), group, label, styles)
    _shares(axes[-1], record, styles)
    handles = [
        axes[-1].plot([], [], label=about["title"], **styles[name])[0] for name, about in record["contenders"].items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    with import_module("matplotlib").rc_context(
        {"svg.hashsalt": "bpengine", "svg.fonttype": "none"}
    ):  # the same each time
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _styles(record: Record) -> dict[str, dict[str, Any]]:
    """Give each contender a colour, the engine's in warm ones and thicker."""
    own, others = iter(OWN), iter(OTHERS)
    return {
        name: {"color": next(own), "linewidth": 2.4, "marker": "o"}
        if about["title"].startswith("bpengine")
        else {"color": next(others), "linewidth": 1.2, "marker": "."}
        for name, about in record["contenders"].items()
    }


def _works(record: Record, group: str) -> list[Record]:
    return [work for work in record["workloads"] if work["group"] == group]


def _sweep(axis: Any, works: list[Record], group: str, label: str, styles: dict[str, dict[str, Any]]) -> None:
    for name, style in styles.items():
        points = [
            (work["batch"] if group == "batches" else work["sizes"][0], work["results"][name]["samples_per_second"])
            for work in works
            if name in work["results"] and work["results"][name]["valid"]
        ]
        if points:
            axis.plot(*zip(*sorted(points), strict=True), **style)
    axis.set(xscale="log", yscale="log", xlabel=label, ylabel="samples per second, trained")
    axis.grid(visible=True, which="major", alpha=0.3)


def _shares(axis: Any, record: Record, styles: dict[str, dict[str, Any]]) -> None:
    """Draw one group of points for every other workload: the share of the matrix products' floor that is reached."""
    works = [w for w in record["workloads"] if w["floor_ms"] and w["group"] not in dict(SWEEPS)]
    for name, style in styles.items():
        found = [(i, work["results"].get(name)) for i, work in enumerate(works)]
        points = [(i, result["share_of_floor"]["products"]) for i, result in found if result and result["valid"]]
        if points:
            axis.plot(*zip(*points, strict=True), **{**style, "linestyle": "none"})
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.set(ylim=(0, 1.1), ylabel="share of the time that the matrix products alone need")
    axis.set_xticks(range(len(works)), [work["name"] for work in works], rotation=30, ha="right")
    axis.grid(visible=True, axis="y", alpha=0.3)
