"""The figure: seconds of whole fits, throughput against batch size and against width, and shares of the roofline.

Matplotlib (the extra "plot") is loaded when a figure is drawn, not before.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpengine.errors import BackendUnavailable
from bpengine.extras import cure
from bpengine.output.dark_svg import with_dark
from bpengine.output.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = dict[str, Any]
APART = 0.72  # share of a workload's width over which the dots of its contenders are spread
OWN, OTHERS = (
    ("#c0392b", "#d9730d", "#8e44ad", "#a04000"),
    ("#111111", "#777777", "#0072b2", "#2a8fc7", "#008f68", "#b8860b", "#b5488a", "#333399"),
)
SHAPES = ("o", "s", "^", "v", "D", "P", "X", "*")  # of the others' dots: they are told apart without their colours
SWEEPS = {
    "batches": ("batch size, network 784-512-256-10", "thousand samples per second, trained"),
    "widths": ("width w of a w-w-w-10 network, batch 256", "GFLOP per second"),
}


def available() -> str | None:
    """Return why no figure can be drawn, with the cure, or None."""
    return None if find_spec("matplotlib") else f"matplotlib not installed. {cure('plot')}"


def draw(record: Record, path: Path) -> None:
    """Draw the record's figure into a file in the format of its ending (.svg, .png); raise without matplotlib."""
    if reason := available():
        raise BackendUnavailable(f"a figure needs {reason}")
    figures: Any = import_module("matplotlib.figure")
    sweeps = [group for group in SWEEPS if _works(record, group)]
    wide = max(1, len(sweeps))
    fits = [["fits"] * wide] if record.get("fits") else []
    rows = [*fits, *([sweeps] if sweeps else []), *([["shares"] * wide] if record["workloads"] or not fits else [])]
    width = max(5.5 * wide, 11.0 if fits else 0.0)
    figure = figures.Figure(figsize=(width, 4.2 * len(rows) + 0.8), layout="constrained")
    axes, styles = figure.subplot_mosaic(rows), _styles(record)
    if fits:
        _fits(axes["fits"], record["fits"], styles)
    for group in sweeps:
        _sweep(axes[group], _works(record, group), group, styles)
    if "shares" in axes:
        _shares(axes["shares"], record, styles)
    last = axes[rows[-1][0]]
    handles = [
        last.plot([], [], label=about["title"], **styles[name])[0] for name, about in _contenders(record).items()
    ]
    figure.suptitle(_title(record), fontsize="x-large", fontweight="bold")
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    # the same bytes each time
    with import_module("matplotlib").rc_context({"svg.hashsalt": "bpengine", "svg.fonttype": "none"}):
        date = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(drawn := BytesIO(), format=path.suffix[1:], metadata=date, dpi=150)
    image = drawn.getvalue()
    write_whole(path, with_dark(image) if path.suffix == ".svg" else image)


def _contenders(record: Record) -> dict[str, Any]:
    """Return all contenders, including those of whole fits only."""
    return {**record.get("fit_contenders", {}), **record["contenders"]}


def _fits(axis: Axes, works: list[Record], styles: dict[str, dict[str, Any]]) -> None:
    """Draw one group of points for every workload of whole fits: seconds; hollow where the cache was empty."""
    names = list(dict.fromkeys(name for work in works for name in work["results"]))
    beside = APART / max(1, len(names) - 1)
    for number, name in enumerate(names):
        results = [(i, work["results"].get(name)) for i, work in enumerate(works)]
        points = [(i + beside * number - APART / 2, r["median_seconds"]) for i, r in results if r and r["valid"]]
        contender, _, empty = name.partition(",")
        hollow = {"markerfacecolor": "none"} if empty else {}
        if points:
            axis.plot(*zip(*points, strict=True), **{**styles[contender], "linestyle": "none", **hollow})
    for edge in range(1, len(works)):
        axis.axvline(edge - 0.5, color="#dde0e5", linewidth=0.8, zorder=0)
    axis.set(yscale="log", ylabel="seconds (hollow: nothing compiled before)", xlim=(-0.5, max(len(works), 1) - 0.5))
    ticks, (low, high) = import_module("matplotlib.ticker"), axis.get_ylim()
    if high < 30 * low:  # within so little there may be one power of ten, or none
        axis.yaxis.set_major_locator(ticks.LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(ticks.NullFormatter())
    axis.set_xticks(range(len(works)), [work["name"] for work in works])
    axis.grid(visible=True, axis="y", alpha=0.3)


def _title(record: Record) -> str:
    """Return a title with the workload, the machine and the date."""
    where = record["machine"].get("GPU") or record["machine"].get("CPU") or record["device"]
    what = "whole fits and training steps" if record.get("fits") else "training steps"
    return f"Speed of {what}: {where}, {record['date'][:10]}"


def _styles(record: Record) -> dict[str, dict[str, Any]]:
    """Give each contender a colour, the engine's in warm ones and thicker."""
    own, others, shapes = cycle(OWN), cycle(OTHERS), cycle(SHAPES)
    return {
        name: {"color": next(own), "linewidth": 2.4, "marker": "o"}
        if about["title"].startswith("bpengine")
        else {"color": next(others), "linewidth": 1.2, "marker": next(shapes), "markersize": 4.5}
        for name, about in _contenders(record).items()
    }


def _works(record: Record, group: str) -> list[Record]:
    return [work for work in record["workloads"] if work["group"] == group]


def _sweep(axis: Axes, works: list[Record], group: str, styles: dict[str, dict[str, Any]]) -> None:
    for name, style in styles.items():
        results = [(work, work["results"][name]) for work in works if name in work["results"]]
        points = [_point(group, work, result) for work, result in results if result["valid"]]
        if points:
            axis.plot(*zip(*sorted(points), strict=True), **style)
    label, unit = SWEEPS[group]
    axis.set(xscale="log", yscale="log", xlabel=label, ylabel=unit)
    measured = sorted({_place(group, work) for work in works})
    axis.set_xticks(measured, [f"{value:,}" for value in measured])
    axis.set_xticks([], minor=True)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(visible=True, which="major", alpha=0.3)


def _point(group: str, work: Record, result: Record) -> tuple[int, float]:
    """Return the coordinates of a result: throughput in samples, or in operations for networks of different sizes."""
    rate = result["samples_per_second"] / 1e3 if group == "batches" else work["flops"] / (1e6 * result["ms_per_step"])
    return _place(group, work), rate


def _place(group: str, work: Record) -> int:
    """Return the quantity that varies in a group of workloads: the batch size, or the width."""
    return int(work["batch"] if group == "batches" else work["sizes"][0])


def _shares(axis: Axes, record: Record, styles: dict[str, dict[str, Any]]) -> None:
    """Draw one group of points for every other workload: the achieved share of the matrix products' floor."""
    works = [w for w in record["workloads"] if w["floor_ms"] and w["group"] not in SWEEPS]
    beside = APART / max(1, len(styles) - 1)  # contenders are side by side, so that their dots do not overlap
    for number, (name, style) in enumerate(styles.items()):
        shift = beside * number - APART / 2 if len(styles) > 1 else 0.0
        results = [(i, work["results"].get(name)) for i, work in enumerate(works)]
        shares = [(i, result["share_of_floor"]) for i, result in results if result and result["valid"]]
        points = [(i + shift, share["products"]) for i, share in shares if share]
        if points:
            axis.plot(*zip(*points, strict=True), **{**style, "linestyle": "none"})
    for edge in range(1, len(works)):
        axis.axvline(edge - 0.5, color="#dde0e5", linewidth=0.8, zorder=0)
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.set(xlim=(-0.5, max(len(works), 1) - 0.5), ylim=(-0.03, 1.1), ylabel="share of the matrix products' own rate")
    axis.set_xticks(range(len(works)), [work["name"] for work in works], rotation=30, ha="right")
    axis.grid(visible=True, axis="y", alpha=0.3)
