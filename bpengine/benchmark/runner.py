"""The runner: times whole fits, then counts the cost of steps, measures the machine, and times steps, workload by workload."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from pathlib import Path

from bpengine.benchmark import nvidia_smi
from bpengine.benchmark.contenders import Contender
from bpengine.benchmark.fits.fit_files import OwnFit
from bpengine.benchmark.fits.fit_rounds import fit_trial
from bpengine.benchmark.fits.fit_workloads import FitWorkload
from bpengine.benchmark.floors.cost import StepCost, step_cost
from bpengine.benchmark.floors.roofline import measure
from bpengine.benchmark.inputs import OwnRows, make_sample
from bpengine.benchmark.measurements import RunMeasurements, Trial
from bpengine.benchmark.processes.pool import Pool
from bpengine.benchmark.processes.process import WorkerFailed
from bpengine.benchmark.steps.launch_counts import count_launches
from bpengine.benchmark.steps.peak_memory import watch_memory
from bpengine.benchmark.steps.rounds import Rounds
from bpengine.benchmark.turns import Rotation
from bpengine.benchmark.workloads import Workload
from bpengine.errors import BackendUnavailable, in_english

# called with the workload, the current activity, and the share of the whole run that is done
Say = Callable[[str, str, float], None]


Tell = Callable[[str, float], None]  # called with the current activity of a workload, and the share of it that is done
# ratio to the length of the turns of one workload's steps: a turn is a process, and there are at least three
FIT_BUDGET = 4.0


@dataclass(frozen=True)
class Plan:
    """The plan of a run: workloads and contenders, the device, and the length.

    rounds: turns of each contender, fewer (but three) where they take more than `budget_seconds` together. extra_rounds: at
    most this many follow while the engine's turns vary by more than 15 %, until three times the budget is spent.
    turn_seconds: how long the fastest contender's turn is, about. memory: names of the workloads whose memory is watched.
    without: environment variables to remove for contenders. limit_seconds: after this time no workload is begun, no memory
    watched, and on a GPU no launches are counted. own: a user's rows, which every workload uses unchanged. fits: workloads of
    whole fits, which come first, on the CPU only; own_fit: a user's rows for them.

    >>> from bpengine.benchmark import WORKLOADS, Plan, choose
    >>> Plan([WORKLOADS["small"]], choose(["numpy"], [])).precisions
    ['float32']
    """

    workloads: Sequence[Workload]
    contenders: Sequence[Contender]
    _: KW_ONLY
    device: str = "cpu"
    rounds: int = 9
    extra_rounds: int = 0
    turn_seconds: float = 0.5
    budget_seconds: float = 60.0
    memory: frozenset[str] = frozenset()
    without: tuple[str, ...] = ()
    limit_seconds: float = math.inf
    own: OwnRows | None = None
    fits: Sequence[FitWorkload] = ()
    own_fit: OwnFit | None = None

    def rotation(self, longer: float = 1.0) -> Rotation:
        """Return the order of turns of one workload, with a budget `longer` times that of the plan."""
        return Rotation(rounds=self.rounds, extra=self.extra_rounds, budget_seconds=longer * self.budget_seconds)

    @property
    def precisions(self) -> list[str]:
        """The precisions of products: the dtypes of the workloads, and the reduced ones that contenders use for float32."""
        dtypes = [w.dtype for w in self.workloads]
        reduced = [c.precision for c in self.contenders if c.precision != "full" and "float32" in dtypes]
        return list(dict.fromkeys([*sorted(dtypes), *reduced]))


def run(
    plan: Plan,
    say: Say = lambda what, doing, share: None,
    keep: Callable[[RunMeasurements], object] = lambda outcome: None,
) -> RunMeasurements:
    """Run the plan; contenders and workloads that cannot run are recorded with the reason.

    `keep` is called with the measurements so far after each workload, so that a run that is cut off leaves them.

    Raises BackendUnavailable when no contender can run at all.

    >>> from bpengine.benchmark import Plan, Workload, choose, run
    >>> tiny = Workload("tiny", (4, 8, 3), 16, epoch_steps=2, steps=4)
    >>> plan = Plan([tiny], choose(["numpy"], []), rounds=3, turn_seconds=0.01, budget_seconds=1.0)
    >>> measured = run(plan)
    >>> list(measured.trials), measured.missing
    (['tiny'], {})
    """
    with Pool(list(plan.contenders), plan.device, plan.without) as pool:
        outcome = RunMeasurements(about=pool.about, missing=pool.missing)
        progress = _Progress(plan, outcome, say, keep)
        if not pool.able:
            raise pool.nobody()
        for work in plan.fits:
            progress.do(work.name, partial(_fit, plan, work, pool, outcome))
        if plan.workloads:
            _steps(plan, pool, outcome, progress)
    return outcome


class _Progress:
    """The progress of a run: the share done, whether it is past its limit, and the measurements so far."""

    def __init__(
        self, plan: Plan, outcome: RunMeasurements, say: Say, keep: Callable[[RunMeasurements], object]
    ) -> None:
        self.say, self._limit, self._keep, self._outcome = say, plan.limit_seconds, keep, outcome
        self._done, self._count = 0, len(plan.fits) + len(plan.workloads)
        self._began = time.perf_counter()

    @property
    def late(self) -> bool:
        """True when nothing more may be begun."""
        return time.perf_counter() - self._began > self._limit

    @property
    def too_late(self) -> str:
        """Why something was not begun."""
        return f"not begun within {self._limit:g} s"

    def do(self, name: str, measure: Callable[[Tell], None]) -> None:
        """Measure one workload, or say that it is too late for it."""
        if self.late:
            self.leave_out(name)
        else:
            measure(partial(self._tell, name))
            self.keep()
        self._done += 1

    def leave_out(self, name: str) -> None:
        """Record that it was too late for a workload."""
        self._outcome.left_out[name] = self.too_late

    def keep(self) -> None:
        """Pass on the measurements so far."""
        self._keep(self._outcome)

    def _tell(self, name: str, doing: str, part: float) -> None:
        self.say(name, doing, (self._done + part) / self._count)


def _fit(plan: Plan, work: FitWorkload, pool: Pool, outcome: RunMeasurements, tell: Tell) -> None:
    try:
        outcome.fits[work.name] = fit_trial(
            work,
            pool.able,
            rotation=plan.rotation(FIT_BUDGET),
            without=plan.without,
            own=plan.own_fit,
            tell=tell,
        )
    except BackendUnavailable as error:  # the digits are not available
        outcome.left_out[work.name] = in_english(error)


def _steps(plan: Plan, pool: Pool, outcome: RunMeasurements, progress: _Progress) -> None:
    """Measure the workloads' steps, and the machine before and after them; nothing where it is too late for the first one."""
    if progress.late:
        for work in plan.workloads:
            progress.leave_out(work.name)
        return
    ordered = sorted(plan.workloads, key=lambda w: w.dtype)
    workloads = [w.on(plan.device) if plan.own is None else w for w in ordered]
    pool.ready(workloads[0], lambda doing: progress.say("start of the processes", doing, 0.0))
    progress.say("roofline", "counting operations", 0.0)
    costs = {w.name: step_cost(make_sample(replace(w, epoch_steps=1, steps=None), plan.own)) for w in workloads}
    progress.say("roofline", "measuring the machine", 0.0)
    _measure(plan, workloads, costs, outcome)
    for workload in workloads:
        progress.do(workload.name, partial(_step, plan, workload, costs[workload.name], pool, outcome, progress))
    progress.say("roofline", "measuring the machine again", 1.0)
    _measure(plan, workloads, costs, outcome)
    if plan.device == "gpu":
        _count(plan, pool, outcome, progress)


def _step(
    plan: Plan,
    workload: Workload,
    cost: StepCost,
    pool: Pool,
    outcome: RunMeasurements,
    progress: _Progress,
    tell: Tell,
) -> None:
    with tempfile.TemporaryDirectory(prefix="bpengine-bench-") as folder:
        trial = _trial(plan, workload, cost, pool, folder, tell)
        outcome.trials[workload.name] = trial
    if workload.name in plan.memory and not progress.late:
        progress.keep()
        _watch(plan, trial, pool, tell)


def _watch(plan: Plan, trial: Trial, pool: Pool, tell: Tell) -> None:
    contenders = [c for c in plan.contenders if c.name in trial.results]
    trial.memory |= watch_memory(pool, trial.workload, contenders, lambda doing: tell(doing, 0.9))


def _count(plan: Plan, pool: Pool, outcome: RunMeasurements, progress: _Progress) -> None:
    """Count the launches of a step of every workload; those for which there is no time are named."""
    for name, trial in outcome.trials.items():
        if progress.late:
            outcome.missing[f"launches, {name}"] = progress.too_late
            continue
        say = partial(_say_last, progress, name)
        ready = pool.ready(trial.workload, say)
        with tempfile.TemporaryDirectory(prefix="bpengine-bench-") as folder:
            make_sample(trial.workload, plan.own).save(Path(folder))
            counted = {n: process for n, process in ready.items() if n in trial.results}
            trial.launches |= count_launches(counted, trial.workload, folder, say)
        progress.keep()


def _say_last(progress: _Progress, name: str, doing: str) -> None:
    progress.say(name, doing, 1.0)


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


def _trial(plan: Plan, workload: Workload, cost: StepCost, pool: Pool, folder: str, tell: Tell) -> Trial:
    rounds = Rounds(workload, pool.ready(workload, lambda doing: tell(doing, 0.0)))
    tell("drawing the data" if plan.own is None else "writing the data", 0.05)
    make_sample(workload, plan.own).save(Path(folder))
    rounds.load(folder, lambda doing: tell(doing, 0.1))
    steps = rounds.warm_up(plan.turn_seconds, lambda doing: tell(doing, 0.2))
    rounds.play(steps, plan.rotation(), lambda doing, part: tell(doing, 0.3 + 0.6 * part))
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
