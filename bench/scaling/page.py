"""The tables and the figure of docs/scaling.md: `python -m bench.scaling.page` writes both; needs bpengine[plot]."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.scaling import model
from bench.scaling.model import Node
from bpengine.explain import figures
from bpengine.explain.figures import canvas

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scaling.md"
RECORD = ROOT / "bench" / "results" / "2026-11-28-exchange.json"
NODES = {
    "CPU, 10 GbE": Node(1.5e12, 30e-6, 1.1e9, 100e9, 64),
    "CPU, 100 Gb RDMA": Node(1.5e12, 3e-6, 11e9, 100e9, 64),
    "8 GPUs, 8 x 400 Gb": Node(1.6e15, 15e-6, 350e9, 16e12, 4096),
}
COUNTS = (8, 64, 256, 1024)
CASES = [(p, b) for p in (1e6, 25e6) for b in (65536, 1048576)]
YEAR = 365 * 24 * 3600.0
NODE_MTBF, RESTART = 5 * YEAR, 60.0


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def compared() -> str:
    """Return what was measured beside what the model says."""
    head = (
        "network",
        "processes",
        "bytes",
        "measured, median ms",
        "measured, fastest to slowest",
        "predicted ms",
        "deviation",
    )
    return table(head, map(_compared, json.loads(RECORD.read_text(encoding="utf-8"))["rows"]))


def _compared(row: dict[str, Any]) -> list[str]:
    spread = f"{row['fastest_ms']:.3g} to {row['slowest_ms']:.3g}"
    times = [f"{row['measured_ms']:.3g}", spread, f"{row['predicted_ms']:.3g}"]
    return [row["network"], row["processes"], f"{row['bytes']:,}", *times, f"{100 * row['deviation']:+.0f} %"]


def predicted() -> str:
    """Return efficiencies, how far half of the nodes' work is used, and what takes the most of the rest there."""
    head = ("node (all predicted)", "P", "B", *map(str, COUNTS), "50 % until", "the largest loss beyond")
    return table(head, (_predicted(n, p, b) for n in NODES for p, b in CASES))


def _predicted(name: str, parameters: float, batch: int) -> list[str]:
    node, cells = NODES[name], []
    for count in COUNTS:
        forms = (model.step(parameters, batch, count, node), model.bucketed(parameters, batch, count, node))
        cells.append(" / ".join(f"{100 * model.efficiency(s, parameters, batch, count, node):.0f}" for s in forms))
    last = model.last_efficient(parameters, batch, node)
    why = model.losses(parameters, batch, 2 * last, node)
    return [name, f"{parameters / 1e6:.0f} M", f"{batch:,}", *cells, str(last), max(why, key=why.__getitem__)]


def hiding() -> str:
    """Return how many rows a node needs."""
    head = ("node (all predicted)", "rows that hide the bytes", "rows for 90 % without overlap")
    return table(
        head, ([n, f"{model.rows_to_hide(k):,.0f}", f"{model.rows_for(k, 0.9):,.0f}"] for n, k in NODES.items())
    )


def intervals() -> str:
    """Return checkpoint intervals."""
    head = ("nodes (all predicted)", "between failures", "a checkpoint takes", "Young", "Daly", "time lost")
    return table(head, (_interval(nodes, cost) for nodes in (1, 64, 1024) for cost in (0.005, 2.0, 30.0)))


def _interval(nodes: int, cost: float) -> list[str]:
    mtbf = NODE_MTBF / nodes
    young, daly = model.young(cost, mtbf), model.daly(cost, mtbf)
    times = [f"{seconds / 60:.1f} min" for seconds in (young, daly)]
    return [
        str(nodes),
        f"{mtbf / 3600:,.0f} h",
        f"{cost:g} s",
        *times,
        f"{100 * model.lost(daly, cost, mtbf, RESTART):.3f} %",
    ]


TABLES = {"compared": compared, "predicted": predicted, "hiding": hiding, "intervals": intervals}


def refreshed(text: str) -> str:
    """Return the page's text with the tables of today, each between its two marks."""
    for name, made in TABLES.items():
        marks = rf"(<!-- {name} -->\n)(?:.*?)(<!-- end -->)"
        text, found = re.subn(marks, lambda m, made=made: f"{m[1]}\n{made()}\n\n{m[2]}", text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"the page requires the marks of the table {name!r} once, got {found}")
    return text


def drawn() -> Any:
    """Draw the predicted efficiency over the number of nodes."""
    figure = canvas.sheet(8, 4.6)
    axes = canvas.frame(figure.subplots(), "nodes", "efficiency, %")
    counts = [2**i for i in range(11)]
    for (name, node), (colour, marker, line) in zip(NODES.items(), canvas.SERIES, strict=False):
        shares = [100 * model.efficiency(model.step(25e6, 2**20, n, node), 25e6, 2**20, n, node) for n in counts]
        axes.plot(counts, shares, color=colour, marker=marker, linestyle=line, label=name)
    axes.set_xscale("log", base=2)
    axes.set(ylim=(0, 104), xticks=counts, xticklabels=[str(n) for n in counts])
    canvas.legend(figure, axes, 3)
    canvas.title(
        figure, "Predicted, not measured: how much of the nodes is used", "25 M parameters, 1,048,576 rows a step"
    )
    return figure


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(figures.save(drawn(), ROOT / "docs" / "figures" / "scaling.svg", force=True))
