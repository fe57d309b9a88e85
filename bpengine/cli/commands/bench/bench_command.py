"""`bpengine bench`: the engine and its peers side by side, in one run on this machine."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from bpengine.benchmark import DEFAULT, FITS, GROUPS, SUITES, WORKLOADS, FitWorkload, Plan, Workload, choose, run
from bpengine.benchmark.fits.fit_workloads import QUICK_FITS
from bpengine.benchmark.measurements import RunMeasurements
from bpengine.benchmark.results import fit_report, goals, record, report
from bpengine.cli import data_options, network_options
from bpengine.cli.commands.bench.bench_files import Files, circumstances
from bpengine.cli.commands.bench.own_table import elsewhere, own_fit, own_workload
from bpengine.cli.exit_codes import FAILED
from bpengine.cli.output import columns, key_value_table, print_json, say, show
from bpengine.cli.table_options.groups import grouped
from bpengine.cli.table_options.text_format import TextFormat
from bpengine.errors import ConfigError, unknown
from bpengine.i18n.language import localized
from bpengine.output.progress_bar import ProgressBar
from bpengine.system import blas_overrides

HELP = """\
Train the same networks with the engine and its peers, side by side, and compare.

Every contender has a process of its own; they take turns in rotating order, start each turn from the same weights, see
the same rows in the same order, and must reach the same loss: one that does not is shown without figures. Times are
medians over the rounds; ratios are medians of the ratios within a round. The roofline is measured in the same run.
Whole fits come first, from the start of a process to its last step: --workloads fits. With --workloads goals a table lists
the engine's goals and what it reached on this machine.
A file, or the name of a data set, is taken in place of drawn rows: a network with --layers for its classes. Of a large
table some rows are drawn at random, so that a fit takes seconds; the tables say how many.
Variables that force BLAS to slow kernels are recorded, and kept from the contenders. Exit codes: 0 done, 1 a contender
failed or reached another loss, 2 a mistake in what was asked.

\b
Examples:
  bpengine bench --quick
  bpengine bench people.csv --layers 64,32 --backends numpy,jax --peers torch,sklearn
  bpengine bench --quick --workloads small,xor --backends jax --peers jax-scan,torch --no-files
  bpengine bench --workloads goals
  bpengine bench --device gpu --workloads gpu-small --precisions full,tf32
"""
QUICK: Final = ("main", "xor")
MEMORY: Final = {"cpu": ("mlp-b1024", "wide-adam", "huge"), "gpu": ("mlp-b1024",)}
ALL_FITS, ALL_GOALS = "fits", "goals"  # groups: all whole fits; these and the steps of the engine's goals
DEVICES: Final = ("cpu", "gpu")
EVERY: Final = 5.0  # seconds between two lines of a run over many workloads


Own = Annotated[
    str | None,
    typer.Argument(metavar="FILE_OR_NAME", help="Your own table of classes, or a data set.  [default: drawn rows]"),
]


@grouped
def bench(
    source: Own = None,
    *,
    written: TextFormat,
    target: data_options.Target = None,
    layers: network_options.Layers = "64,32",
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per step, of a file.")] = 128,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the rows of a file, in a whole fit.")] = 10,
    quick: Annotated[bool, typer.Option("--quick", help="About six minutes: fewer contenders, short turns.")] = False,
    backends: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="The engine's own contenders, separated by commas.  [default: all]"),
    ] = None,
    peers: Annotated[str | None, typer.Option(metavar="NAMES", help="The others, '' for none.  [default: all]")] = None,
    precisions: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Contenders of these: full, tf32, bfloat16.  [default: all]")
    ] = None,
    workloads: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Workloads, or groups of them.  [default: the device's]")
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|gpu", help="Where everything runs.")] = "cpu",
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Turns of each.  [default: 5, and up to 5 more while they vary]")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Begin no workload later than this.  [default: no limit]")
    ] = None,
    part: Annotated[str, typer.Option(metavar="NAME", help="Added to the names of the files.")] = "",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results.")] = Path("bench/results"),
    files: Annotated[bool, typer.Option(help="Write results (JSON, Markdown, figure).")] = True,
    force: Annotated[bool, typer.Option("--force", help="Overwrite results of the same day and machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Run, print, write."""
    if source is not None and workloads is not None:
        raise ConfigError("bench takes a file or --workloads, got both. Drop one.")
    asked, absent = elsewhere(names(backends), device)
    plan = make_plan(asked, names(peers), names(workloads), device, rounds, quick=quick, precisions=names(precisions))
    if source is not None:
        work, own = own_workload(source, target, layers, batch_size, written.options_for(source))
        fit, rows = own_fit(work, own, epochs)
        plan = replace(plan, workloads=[work], own=own, memory=frozenset(), fits=[fit], own_fit=rows)
    plan = plan if seconds is None else replace(plan, limit_seconds=seconds)
    about = circumstances(device, quick=quick)
    processor = about["machine"]["GPU" if device == "gpu" else "CPU"]
    files_written = Files(out, processor, device, quick=quick, force=force, part=part) if files else None

    def keep(outcome: RunMeasurements) -> None:
        if files_written:
            files_written.keep(record.make(plan, outcome, about))

    with _Bar(every=EVERY if source is None else 0.0) as bar:
        results = record.make(plan, run(plan, bar.say, keep), about)
    results["missing"] |= absent
    require_measured(results)
    print_json(results) if as_json else _print(results)
    if files_written:
        files_written.write(results)
    if not record.sound(results):
        raise typer.Exit(FAILED)


def require_measured(results: dict[str, Any]) -> None:
    """Raise ConfigError, with the reasons, for a run in which no workload was measured."""
    if not results["fits"] and not results["workloads"]:
        reasons = "; ".join(f"{name}: {why}" for name, why in results["left_out"].items())
        raise ConfigError(
            f"bench requires at least one workload to be measured, but ran none: {reasons}. Name others with "
            "--workloads, or give a longer --seconds."
        )


def make_plan(
    backends: list[str] | None,
    peers: list[str] | None,
    workloads: list[str] | None,
    device: str,
    rounds: int | None = None,
    *,
    quick: bool,
    precisions: list[str] | None = None,
) -> Plan:
    """Return the plan; raise ConfigError for a name that does not exist."""
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    contenders = choose(backends, peers, device=device, quick=quick, precisions=precisions)
    if not contenders:
        raise ConfigError("bench requires at least one contender, got none. Name some with --backends or --peers.")
    chosen = chosen_workloads(list(QUICK if quick else DEFAULT[device]) if workloads is None else workloads)
    fits = chosen_fits(_fits_by_default(device, quick=quick) if workloads is None else workloads)
    if fits and device != "cpu":
        raise ConfigError("bench runs whole fits on the CPU, got --device gpu. Leave them out of --workloads.")
    if not chosen and not fits:
        raise ConfigError(
            "bench requires at least one workload, got none. Name some with --workloads, or leave it out."
        )
    return Plan(
        chosen,
        contenders,
        device=device,
        rounds=rounds or 5,
        extra_rounds=0 if quick or rounds else 5,
        turn_seconds=0.15 if quick else 0.4,
        budget_seconds=10.0 if quick else 20.0,
        memory=frozenset() if quick else frozenset(MEMORY[device]),
        without=blas_overrides.VARIABLES,
        fits=fits,
    )


def _fits_by_default(device: str, *, quick: bool) -> list[str]:
    return [] if device != "cpu" else list(QUICK_FITS if quick else FITS)


def names(text: str | None) -> list[str] | None:
    """Return the names of a list with commas; None stands for none given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def chosen_workloads(chosen: list[str]) -> list[Workload]:
    """Return workloads by their names or the names of their groups; raise ConfigError for one that does not exist."""
    workloads: dict[str, Workload] = {}
    together = {**GROUPS, **SUITES, ALL_GOALS: goals.GOAL_STEPS}
    for name in chosen:
        if name == ALL_FITS or name in FITS:
            continue
        if name not in together and name not in WORKLOADS:
            raise unknown("workload", name, {*together, ALL_FITS, *FITS, *WORKLOADS})
        workloads |= {w.name: w for w in (together[name] if name in together else (WORKLOADS[name],))}
    return list(workloads.values())


def chosen_fits(chosen: list[str]) -> list[FitWorkload]:
    """Return whole fits by their names, or all of them for "fits" and "goals", in the order of a record."""
    return [work for name, work in FITS.items() if {name, ALL_FITS, ALL_GOALS} & set(chosen)]


def _print(results: dict[str, Any]) -> None:
    heads, lines = goals.goal_table(results)
    if lines:
        show(columns(heads, lines, left=4), "")
    for work in results["fits"]:
        show(fit_report.fit_title(work), columns(fit_report.fit_heads(work), fit_report.fit_rows(work), left=1))
        show(*fit_report.fit_notes(work), "")
    for work in results["workloads"]:
        show(f"{report.title(work)}; {work['steps']} steps a turn", report.costs(work))
        show(columns(report.heads(work), report.rows(work), left=1), *report.notes(work), "")
    if results["workloads"]:
        show(columns(*report.starts(results), left=1), "", columns(*report.summary(results), left=1), "")
    absent = {**results["missing"], **results["left_out"]}
    show(*(f"not run: {name}: {why}" for name, why in absent.items()), "", key_value_table(report.machine(results)))


class _Bar:
    """A progress bar on a terminal; elsewhere a line for every workload, and for what is done in it.

    every: seconds between two lines about one workload, 0 for all of them.
    """

    def __init__(self, *, every: float) -> None:
        columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
        self._terminal = sys.stderr.isatty()
        self._bar = ProgressBar(*columns)
        self._last, self._began = "", time.perf_counter()
        self._every, self._due = every, 0.0

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, what: str, doing: str, share: float) -> None:
        """Show what is being done for a workload, and which share of the run is done."""
        self._bar.update(share, 1.0, localized(f"{what}: {doing}"))
        seconds = time.perf_counter() - self._began
        if not self._terminal and (what != self._last or seconds >= self._due):
            say(f"{share:4.0%} after {seconds:.0f} s: {what}: {doing}", err=True)
            self._due = seconds + self._every
        self._last = what
