"""The runner: counts the cost of steps, measures the machine, then times the contenders, workload by workload."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from pathlib import Path

from bpengine.benchmark.contenders import Contender
from bpengine.benchmark.floors.cost import StepCost, step_cost
from bpengine.benchmark.floors.roofline import measure
from bpengine.benchmark.inputs import OwnRows, make_sample
from bpengine.benchmark.measurements import RunMeasurements, Trial
from bpengine.benchmark.processes.pool import Pool
from bpengine.benchmark.processes.process import WorkerFailed
from bpengine.benchmark.steps.peak_memory import watch_memory
from bpengine.benchmark.steps.rounds import Rounds
from bpengine.benchmark.workloads import Workload
from bpengine.errors import in_english
from bpengine.system import nvidia_smi

Say = Callable[
    [str, str, float], None
]  # the workload, what is being done for it, and the share of the whole run that is done


@dataclass(frozen=True)
class Plan:
    """What is run: workloads and contenders, on which device, and for how long.

    rounds: turns of each contender, fewer (but three) where they take more than `budget_seconds` together.
    turn_seconds: how long the fastest contender's turn is, about. memory: names of the workloads whose memory is watched.
    without: variables that the contenders must not see. limit_seconds: no workload is begun, and no memory watched, later.
    own: rows of one's own, which every workload takes as they are.

    >>> from bpengine.benchmark import WORKLOADS, Plan, choose
    >>> Plan([WORKLOADS["small"]], choose(["numpy"], [])).precisions
    ['float32']
    """

    workloads: Sequence[Workload]
    contenders: Sequence[Contender]
    _: KW_ONLY
    device: str = "cpu"
    rounds: int = 9
    turn_seconds: float = 0.5
    budget_seconds: float = 60.0
    memory: frozenset[str] = frozenset()
    without: tuple[str, ...] = ()
    limit_seconds: float = math.inf
    own: OwnRows | None = None

    @property
    def precisions(self) -> list[str]:
        """What is multiplied in: the dtypes of the workloads, and what contenders make of float32."""
        dtypes = [w.dtype for w in self.workloads]
        reduced = [c.precision for c in self.contenders if c.precision != "full" and "float32" in dtypes]
        return list(dict.fromkeys([*sorted(dtypes), *reduced]))


def run(
    plan: Plan,
    say: Say = lambda what, doing, share: None,
    keep: Callable[[RunMeasurements], object] = lambda outcome: None,
) -> RunMeasurements:
    """Run the plan; what cannot run is recorded with the reason.

    `keep` is called with the measurements so far after each workload, so that a run that is cut off leaves them.

    Raises BackendUnavailable when no contender can run at all.

    >>> from bpengine.benchmark import Plan, Workload, choose, run
    >>> tiny = Workload("tiny", (4, 8, 3), 16, epoch_steps=2, steps=4)
    >>> plan = Plan([tiny], choose(["numpy"], []), rounds=3, turn_seconds=0.01, budget_seconds=1.0)
    >>> measured = run(plan)
    >>> list(measured.trials), measured.missing
    (['tiny'], {})
    """
    ordered = sorted(plan.workloads, key=lambda w: w.dtype)
    workloads = [w.on(plan.device) if plan.own is None else w for w in ordered]
    began = time.perf_counter()

    def late() -> bool:
        return time.perf_counter() - began > plan.limit_seconds

    with Pool(list(plan.contenders), plan.device, plan.without) as pool:
        outcome = RunMeasurements(about=pool.about, missing=pool.missing)
        pool.ready(workloads[0], lambda doing: say("start", doing, 0.0))
        say("roofline", "counting operations", 0.0)
        costs = {w.name: step_cost(make_sample(replace(w, epoch_steps=1, steps=None), plan.own)) for w in workloads}
        say("roofline", "measuring the machine", 0.0)
        _measure(plan, workloads, costs, outcome)
        for number, workload in enumerate(workloads):
            if late():
                outcome.left_out[workload.name] = f"not begun within {plan.limit_seconds:g} s"
                continue
            tell = partial(_tell, say, workload.name, number, len(workloads))
            with tempfile.TemporaryDirectory(prefix="bpengine-bench-") as folder:
                trial = _trial(plan, workload, costs[workload.name], pool, folder, tell)
                outcome.trials[workload.name] = trial
                keep(outcome)
                if workload.name in plan.memory and not late():
                    _watch(plan, trial, pool, folder, tell)
                    keep(outcome)
        say("roofline", "measuring the machine again", 1.0)
        _measure(plan, workloads, costs, outcome)
    return outcome


def _tell(say: Say, what: str, number: int, count: int, doing: str, part: float) -> None:
    say(what, doing, (number + part) / count)


def _watch(plan: Plan, trial: Trial, pool: Pool, folder: str, tell: Callable[[str, float], None]) -> None:
    contenders = [c for c in plan.contenders if c.name in trial.results]
    trial.memory |= watch_memory(pool, trial.workload, contenders, folder, lambda doing: tell(doing, 0.9))


def _measure(plan: Plan, workloads: Sequence[Workload], costs: dict[str, StepCost], outcome: RunMeasurements) -> None:
    """Measure the limits in each precision, before and after the turns: the better measurement is the limit."""
    for precision in plan.precisions:
        dtype = "float64" if precision == "float64" else "float32"
        products = [p for w in workloads if w.dtype == dtype for p in costs[w.name].products]
        try:
            outcome.limits_of(precision).add(measure(products, plan.device, precision, plan.without))
        except WorkerFailed as error:
            outcome.limits.pop(precision, None)
            outcome.missing[f"roofline, {precision}"] = in_english(error)


def _trial(
    plan: Plan, workload: Workload, cost: StepCost, pool: Pool, folder: str, tell: Callable[[str, float], None]
) -> Trial:
    rounds = Rounds(workload, pool.ready(workload, lambda doing: tell(doing, 0.0)))
    tell("drawing the data" if plan.own is None else "writing the data", 0.05)
    make_sample(workload, plan.own).save(Path(folder))
    rounds.load(folder, lambda doing: tell(doing, 0.1))
    steps = rounds.warm_up(plan.turn_seconds, lambda doing: tell(doing, 0.2))
    total = f"of {plan.rounds}, {steps} steps each"
    rounds.play(
        steps,
        plan.rounds,
        plan.budget_seconds,
        lambda number: tell(f"round {number + 1} {total}", 0.3 + 0.6 * number / plan.rounds),
    )
    clocks = nvidia_smi.ask(nvidia_smi.STATE) if plan.device == "gpu" else {}
    return Trial(
        workload=workload,
        steps=steps,
        cost=cost,
        results=rounds.results,
        failures=rounds.failures,
        memory={},
        clocks=clocks,
    )
