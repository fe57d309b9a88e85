"""Tables made from a record, as rows of text: for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bpengine.benchmark import nvidia_smi
from bpengine.benchmark.results.fit_report import fit_heads, fit_notes, fit_rows, fit_summary, fit_title
from bpengine.benchmark.results.goals import goal_table
from bpengine.benchmark.results.numbers import figures, mib
from bpengine.i18n.language import localized
from bpengine.output import rich_form
from bpengine.output.tabular import TabularResult

Record = dict[str, Any]
OWN = "own"  # the workload of a user's rows


@dataclass(frozen=True)
class BenchmarkTables(TabularResult):
    """The tables of a record, as `bpengine bench` writes and reads it: `str()` is its Markdown page.

    >>> tables = BenchmarkTables({"device": "cpu", "workloads": [], "contenders": {}, "limits": {}, "missing": {}, "date": ""})
    >>> tables.to_rows()
    []
    """

    record: Record

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per workload and contender."""
        names = ("ms_per_step", "samples_per_second", "times_yardstick", "loss", "valid", "spread")
        return [
            {"workload": work["name"], "contender": name, **{key: result[key] for key in names}}
            for work in self.record["workloads"]
            for name, result in work["results"].items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the record itself: plain values for JSON."""
        return self.record

    def __str__(self) -> str:
        return document(self.record)

    def _html_parts(self) -> Iterator[str]:
        for work in self.record.get("fits", []):
            yield rich_form.title(localized(fit_title(work)))
            yield rich_form.table(list(map(localized, fit_heads(work))), _spoken(fit_rows(work)))
            yield rich_form.lines(map(localized, fit_notes(work)))
        for work in self.record["workloads"]:
            yield rich_form.title(localized(title(work)))
            yield rich_form.table(list(map(localized, heads(work))), _spoken(rows(work)))
            yield rich_form.lines(map(localized, [costs(work), *notes(work)]))
        about = [[localized(name), value] for name, value in machine(self.record)]
        yield rich_form.folded(localized("machine"), rich_form.table(["", ""], about))


def title(work: Record) -> str:
    """Describe a workload: "mlp-b128: 784-512-256-10, batch 128, Adam, float32"."""
    rule = {"adam": "Adam", "sgd": "SGD"}[work["optimizer"]]
    sizes = "-".join(map(str, work["sizes"]))
    return f"{work['name']}: {sizes}, batch {work['batch']:,}, {rule}, {work['dtype']}"


def costs(work: Record) -> str:
    """Describe the cost of a step of a workload, and its floors on the machine."""
    held = work["memory_needed"]["total"]
    needs = f"A step needs {work['flops'] / 1e9:.3g} GFLOP, moves {mib(work['bytes'])}, holds {mib(held)}"
    floor = work["floor_ms"]
    if not floor:
        return f"{needs}."
    return (
        f"{needs}. Floor, ms: matrix products at the machine's best rate {figures(floor['products'])}, at the rates of their "
        f"own sizes {figures(floor['own_products'])}; all calls one by one {figures(floor['calls'])}."
    )


def heads(work: Record) -> list[str]:
    """Return the heads of a workload's table."""
    against = [f"x {work['yardstick']}"] if work["yardstick"] else []
    shares = ["products' floor", "calls' floor"] if work["floor_ms"] else []
    times = ["us/step", "us/step, events"] if _by_events(work) else ["ms/step"]
    memory = ["memory, x need"] if _watched(work) else []
    counted = ["kernels/step", "launches/step"] if _counted(work) else []
    return ["contender", *times, "samples/s", *against, *shares, *memory, *counted, "spread"]


def rows(work: Record) -> list[list[str]]:
    """Return the rows of a workload's table, the fastest first; a contender that disagrees has no figures."""
    results = sorted(work["results"].items(), key=lambda item: float(item[1]["ms_per_step"]))
    blank = [""] * (len(heads(work)) - 2)
    lines = [
        [name, *(_figures(work, result) if result["valid"] else ["not valid", *blank])] for name, result in results
    ]
    return lines + [[name, "failed", *blank] for name in work["failures"]]


def notes(work: Record) -> list[str]:
    """Return the clocks, and a line for every contender whose figures are missing from a workload's table."""
    wrong = [
        f"{name} is not valid: {result['why_not']}" for name, result in work["results"].items() if not result["valid"]
    ]
    clocks = [f"After the turns: {nvidia_smi.words(work['clocks'])}."] if work.get("clocks") else []
    return clocks + wrong + [f"{name} failed: {why}" for name, why in work["failures"].items()]


def _figures(work: Record, result: Record) -> list[str]:
    cells = [figures(result["ms_per_step"])]
    if _by_events(work):
        by_events = result["device_us_per_step"]
        cells = [figures(1e3 * result["ms_per_step"]), "-" if by_events is None else figures(by_events)]
    cells.append(f"{result['samples_per_second']:,.0f}")
    if work["yardstick"]:
        cells.append(f"{result['times_yardstick']:.2f}")
    if work["floor_ms"]:
        shares = result["share_of_floor"]
        cells += [f"{shares[floor]:.0%}" if floor in shares else "-" for floor in ("products", "calls")]
    if _watched(work):
        times = (result["memory"] or {}).get("times_needed")
        cells.append("-" if times is None else f"{times:.2f}")
    if _counted(work):
        counts = result["launches"] or {}
        cells += [figures(counts[name]) if name in counts else "-" for name in ("kernels", "launches")]
    return [*cells, f"{result['spread']:.0%}"]


def _by_events(work: Record) -> bool:
    return any(result.get("device_us_per_step") is not None for result in work["results"].values())


def _counted(work: Record) -> bool:
    return any(result.get("launches") for result in work["results"].values())


def _watched(work: Record) -> bool:
    return any(result["memory"] for result in work["results"].values())


def summary(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the table of the main workloads: milliseconds per step, one column per workload.

    A contender that is not valid on a workload, or did not take part, has a dash there.
    """
    works = [
        work for work in record["workloads"] if work["group"] in ("main", "xor", "huge", "large") or work["name"] == OWN
    ]
    lines = []
    for name, about in record["contenders"].items():
        results = [work["results"].get(name) for work in works]
        cells = [figures(result["ms_per_step"]) if result and result["valid"] else "-" for result in results]
        lines.append([about["title"], *cells])
    return ["ms per step", *(work["name"] for work in works)], lines


def starts(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the cold start: the process with its imports, and the first epoch of the first workload.

    Raises: IndexError for a record without workloads.
    """
    first: Record = record["workloads"][0]
    lines = [
        [name, f"{about['start_seconds']:.2f}", f"{first['results'][name]['first_seconds']:.2f}"]
        for name, about in record["contenders"].items()
        if name in first["results"]
    ]
    return ["contender", "start and imports, s", f"first epoch of {first['name']}, s"], lines


def machine(record: Record) -> list[tuple[str, str]]:
    """Return where and how the run was made, as names and values; contenders in the language that is set."""
    lines = [("date", record["date"]), ("command", record.get("command", ""))]
    lines += [(name, str(value)) for name, value in record.get("machine", {}).items()]
    for dtype, limits in record["limits"].items():
        best, copies = limits["best_product_flops_per_second"], limits["copy_bytes_per_second"]
        largest = copies[max(copies, key=int)]
        rates = f"matrix products {best / 1e9:,.0f} GFLOP/s, copies {largest / 1e9:.1f} GB/s ({limits['library']})"
        lines.append((f"limits, {dtype}", rates))
    for name, about in {**record.get("fit_contenders", {}), **record["contenders"]}.items():
        used = ", ".join(f"{package} {number}" for package, number in about["versions"].items() if number)
        lines.append((name, f"{localized(about['title'])} ({used}; {localized(about['note'])})"))
    return lines


def document(record: Record) -> str:
    """Return the whole record as a Markdown page, in the language that is set."""
    parts = [localized(f"# bpengine {record.get('bpengine', '')}: benchmark, {record['device'].upper()}")]
    parts.append(markdown(["", ""], machine(record)))
    parts += _goals_and_fits(record)
    parts += _steps(record)
    absent = {**record["missing"], **record.get("left_out", {})}
    if absent:
        parts += [localized("## Not run"), markdown(["", "reason"], absent.items())]
    return "\n\n".join(parts) + "\n"


def _goals_and_fits(record: Record) -> Iterator[str]:
    """Yield the first parts of the page: the goals with the measured values, and the times of whole fits."""
    heads, lines = goal_table(record)
    if lines:
        yield from (localized("## Wanted and reached"), markdown(heads, lines))
    if record.get("fits"):
        yield from (localized("## Whole fits: what a user waits for"), markdown(*fit_summary(record)))
    for work in record.get("fits", []):
        yield from (f"### {localized(fit_title(work))}", markdown(fit_heads(work), fit_rows(work)))
        yield from map(localized, fit_notes(work))
    if record.get("fits") and record["workloads"]:
        yield localized("## Training steps")


def _steps(record: Record) -> Iterator[str]:
    """Yield the parts of the page about training steps; none where no workload was measured."""
    if not record["workloads"]:
        return
    yield markdown(*summary(record))
    for work in record["workloads"]:
        yield from (f"## {localized(title(work))}", localized(costs(work)), markdown(heads(work), rows(work)))
        yield from map(localized, notes(work))
    yield from (localized("## Cold start"), markdown(*starts(record)))


def _spoken(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    """Return the cells of a table in the language that is set; those that are names or numbers stay as they are."""
    return [[localized(cell) for cell in row] for row in rows]


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table in the language that is set; all but the first column hold numbers."""
    rule = ["---" if number < 1 else "---:" for number in range(len(heads))]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in _spoken(rows)]
    lines = [list(map(localized, heads)), rule, *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
