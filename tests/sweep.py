"""Check many random networks and look for false alarms; break every kernel and look for what gets away.

    python -m tests.sweep --networks 1000 --special 200 --seed 0 --mutants

The networks are those of the property tests, only more of them, each different from the others. Exit code 0: no false
alarm, and every mutant caught and named.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import hypothesis
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bpengine.backend import get_backend
from bpengine.check import check_gradients
from bpengine.errors import BpError
from tests.check.mutants import Mutant, check_alone, check_in_network, mutants
from tests.check.random_networks import SPECIAL, Sample, samples
from tests.tolerances import oracle_rtol

TASKS_PER_PROCESS = 200  # then a fresh one: every function that XLA compiles stays in memory
EXACT = ("autodiff", "own float64")
ONCE = hypothesis.settings(
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


@dataclass(frozen=True)
class Finding:
    """What came of one check: the text of what went wrong, or None, and what was counted on the way."""

    kind: str
    wrong: str | None
    counts: dict[str, int]
    error: float = 0.0


def draw(networks: int, seed: int) -> list[Sample]:
    """Return so many samples, no two of them with the same network."""
    drawn: dict[str, Sample] = {}
    for more in itertools.count():

        @hypothesis.seed(seed * 1_000_003 + more)
        @hypothesis.settings(ONCE, max_examples=networks)
        @hypothesis.given(samples())
        def collect(sample: Sample) -> None:
            drawn.setdefault(repr(sample.network), sample)

        if len(drawn) >= networks:
            return list(drawn.values())[:networks]
        collect()
    raise AssertionError


def with_special_values(drawn: Sequence[Sample]) -> list[Sample]:
    """Return each sample at one kind of special values, in turn: zeros, ones, equal numbers, perfect fits."""
    return [replace(sample, special=kind) for sample, kind in zip(drawn, itertools.cycle(SPECIAL), strict=False)]


def network(sample: Sample, backend: str, dtype: str) -> Finding:
    """Check a correct network: whatever is not "passed" is a false alarm."""
    try:
        report = check_gradients(sample.model(backend, dtype), *sample.data())
    except Exception:
        return Finding("network", f"{sample}\n{traceback.format_exc()}", {})
    counts = {
        "numbers compared": sum(v.compared for v in report.verdicts),
        "left out at a kink": sum(v.left_out for v in report.verdicts),
        "left out as ill-conditioned": sum(v.ill for v in report.verdicts),
    }
    error = max((v.error for v in report.verdicts if v.oracle in EXACT), default=0.0)
    counts["networks in which rounding explains more than 1e-12"] = int(error > oracle_rtol())
    return Finding("network", None if report.passed else f"{sample}\n{report}", counts, error)


def mutant(broken: Mutant, where: str, check: Callable[[Mutant], Any]) -> Finding:
    """Check a broken kernel: what is not caught and named has got away."""
    escaped = broken.escaped(check(broken))
    return Finding("mutant", escaped and f"{broken.id} {where}: {escaped}", {f"mutants {where}": 1})


def run(tasks: Sequence[partial[Finding]], jobs: int) -> Iterator[Finding]:
    """Run the tasks in processes of their own, under a progress bar; the findings come as they are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
    totals = Counter(task.func.__name__ for task in tasks)
    context = multiprocessing.get_context("spawn")
    with bar, context.Pool(jobs, maxtasksperchild=TASKS_PER_PROCESS) as pool:
        lines = {kind: bar.add_task(f"{kind}s", total=total) for kind, total in totals.items()}
        for finding in pool.imap_unordered(call, tasks):
            bar.advance(lines[finding.kind])
            if finding.wrong:
                bar.console.print(finding.wrong, markup=False, highlight=False, soft_wrap=True)
            yield finding


def call(task: partial[Finding]) -> Finding:
    return task()


def main(
    networks: Annotated[int, typer.Option(min=1, help="How many random networks.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Draws them.")] = 0,
    backend: Annotated[str, typer.Option(help="Whose own gradients are judged as well.")] = "numpy",
    dtype: Annotated[str, typer.Option(help="Of those: float32 or float64.")] = "float32",
    special: Annotated[int, typer.Option(min=0, help="How many more with special values: 0, 1, perfect fits.")] = 0,
    broken: Annotated[bool, typer.Option("--mutants", help="Break every kernel in every way as well.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Check random networks with every oracle and count the false alarms; exit with 1 if there is one."""
    try:
        get_backend(backend, precision=dtype)
    except BpError as mistake:
        typer.echo(mistake, err=True)
        raise typer.Exit(2) from None
    start = time.monotonic()
    drawn = draw(networks, seed) + (with_special_values(draw(special, seed + 1)) if special else [])
    tasks = [partial(network, sample, backend, dtype) for sample in drawn]
    if broken:
        tasks += [partial(mutant, m, "alone", check_alone) for m in mutants()]
        tasks += [partial(mutant, m, "in a network", check_in_network) for m in mutants(trained=True)]
    findings = list(run(tasks, jobs))
    counts = Counter[str]()
    for finding in findings:
        counts.update(finding.counts)
    wrong = Counter(f.kind for f in findings if f.wrong)
    more = f" and {special} with special values" if special else ""
    typer.echo(f"{networks} different networks{more} on {backend} in {dtype}, every oracle, seed {seed}")
    for what, number in counts.items():
        typer.echo(f"  {what}: {number:,}")
    typer.echo(f"  largest error against autodiff in float64: {max(f.error for f in findings):.1e}")
    typer.echo(f"  false alarms: {wrong['network']}")
    if broken:
        total = sum(f.kind == "mutant" for f in findings)
        typer.echo(f"  mutants caught and named: {total - wrong['mutant']} of {total}")
    typer.echo(f"  {time.monotonic() - start:.0f} s with {jobs} processes")
    raise typer.Exit(int(bool(wrong)))


if __name__ == "__main__":
    typer.run(main)
