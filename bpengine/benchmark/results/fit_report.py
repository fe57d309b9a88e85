"""Tables of whole fits, made from a record, as rows of text: for the terminal and for Markdown."""

from __future__ import annotations

from typing import Any

from bpengine.benchmark.results.numbers import figures

Record = dict[str, Any]


def fit_title(work: Record) -> str:
    """Describe a workload of whole fits: "fit-digits: a process that ..., 64-32-10, batch 100"."""
    networks = ", ".join("-".join(map(str, sizes)) for sizes in work["sizes"])
    return f"{work['name']}: {work['title']}; {networks}, batch {work['batch']:,}, Adam, float32"


def fit_heads(work: Record) -> list[str]:
    """Return the heads of a workload's table."""
    counted = "s, median call" if work["calls"] > 1 else "s, start to last step"
    against = [f"x {work['yardstick']}"] if work["yardstick"] else []
    pieces = ["first, s", "later, s", "fits alone, s"] if _several(work) else ["fit alone, s"]
    score = ["accuracy, held out"] if _scored(work) else []
    return ["contender", counted, *against, "CPU s, process", *pieces, *score, "spread"]


def fit_rows(work: Record) -> list[list[str]]:
    """Return the rows of a workload's table, the fastest first; a contender that disagrees has no figures."""
    results = sorted(work["results"].items(), key=lambda item: float(item[1]["median_seconds"]))
    blank = [""] * (len(fit_heads(work)) - 2)
    lines = [[name, *(_cells(work, result) if result["valid"] else ["not valid", *blank])] for name, result in results]
    return lines + [[name, "failed", *blank] for name in work["failures"]]


def fit_notes(work: Record) -> list[str]:
    """Return a line for every contender whose figures are missing from a workload's table."""
    wrong = [
        f"{name} is not valid: {result['why_not']}" for name, result in work["results"].items() if not result["valid"]
    ]
    return wrong + [f"{name} failed: {why}" for name, why in work["failures"].items()]


def fit_summary(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the table of all whole fits: seconds, one column per workload, a dash where there are none."""
    works = record.get("fits", [])
    names = list(dict.fromkeys(name for work in works for name in work["results"]))
    results = {name: [work["results"].get(name) for work in works] for name in names}
    cells = {n: [figures(r["median_seconds"]) if r and r["valid"] else "-" for r in row] for n, row in results.items()}
    return ["seconds", *(work["name"] for work in works)], [[name, *cells[name]] for name in names]


def _several(work: Record) -> bool:
    return bool(work["fits"] > 1 or work["calls"] > 1)


def _scored(work: Record) -> bool:
    return any(result["accuracy"] is not None for result in work["results"].values())


def _cells(work: Record, result: Record) -> list[str]:
    cells = [figures(result["median_seconds"])]
    if work["yardstick"]:
        cells.append(f"{result['times_yardstick']:.2f}")
    cells.append(figures(result["median_cpu_seconds"]))
    if _several(work):
        cells += [figures(result["first_fit"]), figures(result["later_fit"])]
    cells.append(figures(result["fits_together"]))
    if _scored(work):
        cells.append(f"{result['accuracy']:.4f}")
    return [*cells, f"{result['spread']:.0%}"]
