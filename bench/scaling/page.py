"""The tables and the figure of docs/scaling.md: `python -m bench.scaling.page` writes both; needs bpengine[plot]."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.scaling import compare, model
from bench.scaling.markdown import milliseconds, table
from bench.scaling.model import Node
from bench.scaling.nodes import NETWORKS, NODES
from bench.scaling.predicted import assumed, findings, hiding, intervals, price, shards, strong, weak
from bpengine.explain import figures
from bpengine.explain.figures import canvas

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scaling.md"
FIGURE = ROOT / "docs" / "scaling.svg"


def exchanged() -> str:
    """Return exchanges that were measured beside what the model says."""
    head = ("network", "processes", "shards", "bytes", "median ms", "fastest to slowest", "predicted ms", "deviation")
    rows = [row for row in compare.exchanges(compare.read()) if row.whole]
    return table(head, map(_measured, rows))


def pieces() -> str:
    """Return exchanges with MPICH as it comes."""
    head = ("network", "processes", "shards", "bytes", "median ms", "fastest to slowest", "predicted ms", "deviation")
    rows = [row for row in compare.exchanges(compare.read()) if not row.whole and row.network != "unshaped"]
    return table(head, map(_measured, rows))


def short() -> str:
    """Return short exchanges."""
    head = ("bytes", "fastest us", "predicted us")
    rows = [row for row in compare.exchanges(compare.read()) if row.network == "unshaped"]
    return table(head, ([f"{r.size:,}", f"{1e6 * r.measured:.0f}", f"{1e6 * r.predicted:.0f}"] for r in rows))


def stepped() -> str:
    """Return steps that were measured beside what the model says."""
    head = ("network", "processes", "shards", "rows", "median ms", "fastest to slowest", "predicted ms", "deviation")
    return table(head, map(_measured, compare.steps(compare.read())))


def multiplied() -> str:
    """Return steps of one process beside the line through the first and the last."""
    record, head = compare.read(), ("rows", "measured, ms", "predicted, ms")
    rows = ([f"{n:,}", milliseconds(a), milliseconds(b)] for n, a, b in compare.products_alone(record))
    thread = compare.one_thread(record)
    line = (
        f"The line has {thread.flops / 1e9:.0f} GFLOP/s; a step takes as long as the products of {thread.half:.0f} more "
        "rows than it has."
    )
    return f"{table(head, rows)}\n\n{line}"


def _measured(row: compare.Row) -> list[str]:
    spread = f"{milliseconds(min(row.seconds))} to {milliseconds(max(row.seconds))}"
    times = [milliseconds(row.measured), spread, milliseconds(row.predicted)]
    return [
        row.network, str(row.processes), str(row.shards), f"{row.size:,}", *times, f"{round(100 * row.deviation):+d} %"
    ]  # fmt: skip


TABLES = {
    **{form.__name__: form for form in (exchanged, pieces, short, stepped, multiplied)},
    **{form.__name__: form for form in (assumed, findings, strong, weak, hiding, price, shards, intervals)},
}


def refreshed(text: str) -> str:
    """Return the page's text with the tables of today, each between its two marks."""
    for name, form in TABLES.items():
        marks = rf"(<!-- {name} -->\n)(?:.*?)(<!-- end -->)"
        text, count = re.subn(marks, rf"\g<1>\n{form()}\n\n\g<2>", text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"the page requires the marks of the table {name!r} once, got {count}")
    return text


def drawn() -> Any:
    """Draw the predicted efficiency over the number of nodes: one batch for all, and one number of rows for each process."""
    figure = canvas.sheet(8, 4.6)
    counts = [2**i for i in range(11)]
    strong_axes, weak_axes = figure.subplots(1, 2, sharey=True)
    canvas.frame(strong_axes, "nodes", "efficiency, %")
    canvas.frame(weak_axes, "nodes", "")
    for (name, node), (colour, marker, line) in zip(NODES.items(), canvas.SERIES, strict=True):
        style = {"color": colour, "marker": marker, "linestyle": line}
        strong_axes.plot(counts, [_percent(n, 2**20, node) for n in counts], **style, label=name)
        weak_axes.plot(counts, [_percent(n, 4096 * n * node.processes, node) for n in counts], **style)
    for axes in (strong_axes, weak_axes):
        axes.set_xscale("log", base=2)
        axes.set(ylim=(0, 104), xticks=counts[::2], xticklabels=[str(n) for n in counts[::2]])
    canvas.legend(figure, strong_axes, 2)
    canvas.title(
        figure, "Predicted, not measured: how much of the nodes is used",
        "4096-8192-8192-1000; left 1,048,576 rows a step in all, right 4,096 on each process",
    )  # fmt: skip
    return figure


def _percent(nodes: int, batch: int, node: Node) -> float:
    parameters = NETWORKS["4096-8192-8192-1000"]
    return 100 * model.efficiency(model.step(parameters, batch, nodes, node), parameters, batch, nodes, node)


def main() -> None:
    """Write the page's tables and the figure."""
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(figures.save(drawn(), FIGURE, force=True))


if __name__ == "__main__":
    main()
