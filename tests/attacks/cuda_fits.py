"""Random networks trained by the CUDA target on a simulated GPU: the same bits in each way to run them, and NumPy's numbers.

    python -m tests.attacks.cuda_fits --seconds 1800 --seed 0

Needs g++ on x86-64 Linux, and no GPU. A case is a network of the attack on NumPy's compiled epochs, with layers and losses
of a user's own, a precision, a schedule, validation, rules, several fits on one model. It is trained in some of these
ways: with blocks and threads in another order, with rows that stay on the host, call by call, interrupted and resumed, in two
threads. The bits must not change. Then it is compared with NumPy: the difference may be some times as large as the one that
a unit of rounding in the parameters makes. A case is drawn by (seed, number) alone; `--number` runs it again.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest
from bpengine_cupy import backend as of_backend
from bpengine_cupy.cuda_target import staging
from bpengine_cupy.cuda_target.bfloat16 import exact, rounded
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.target import FEW, SHORT
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import flushed
from bpengine_steps.functions import compiled_function

import bpengine as bp
from bpengine.backend import REDUCED
from bpengine.errors import BpError
from tests.attacks import networks
from tests.attacks.running import run
from tests.backends.cuda_host import played_cupy
from tests.backends.cuda_host.player import ORDERS, Player, compiler_missing
from tests.backends.cuda_host.streams import EARLY, LATE, Streams
from tests.check.random_networks import Sample
from tests.tolerances import compiled_state_rtol, reduced_rtol

Arrays = dict[str, Any]
Make = Callable[[], Player]
MANY = (0, 0, 0, 70, 300, 2100)  # rows that a sample's are repeated to
MOVED = 4  # fits of NumPy's that are moved by a unit
# times the largest difference that these make: correct sums that cancel needed 16 once, others up to 2.5
GRADIENT = "gradient of "
ROOM = 64.0
PIECES = (1, 300, 1 << 26)  # bytes of rows that are copied at once
WAYS = 3  # besides the first, of those to run a case


@dataclass(frozen=True)
class Gain(bp.Layer):
    """A factor for each feature, by functions that no kernel of the engine has."""

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {"gain": np.linspace(0.5, 1.5, inputs)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        xp, gain = ops.xp, params["gain"]
        size = xp.sqrt(xp.mean(x * x, axis=1, keepdims=True) + 0.1)
        return x / size * xp.cosh(0.3 * gain), (x, gain, size), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        xp, (x, gain, size) = ops.xp, residual
        scaled = dy * xp.cosh(0.3 * gain)
        along = xp.mean(scaled * x, axis=1, keepdims=True)
        return scaled / size - x * along / (size * size * size), {
            "gain": xp.sum(dy * x / size, axis=0) * 0.3 * xp.sinh(0.3 * gain)
        }


@dataclass(frozen=True)
class Cumulative(bp.Layer):
    """Sums of the features so far: a step with it cannot be recorded, and runs as it is written."""

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return 0.3 * ops.xp.cumulative_sum(x, axis=1), x.shape, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        xp = ops.xp
        return 0.3 * xp.flip(xp.cumulative_sum(xp.flip(dy, axis=1), axis=1), axis=1), {}


def log_cosh_forward(xp: Any, y: Any, target: Any) -> Any:
    diff = y - target
    return xp.mean(xp.log(xp.cosh(diff))), diff


def log_cosh_backward(xp: Any, diff: Any, dloss: Any) -> Any:
    return xp.tanh(diff) * (dloss / diff.size)


@dataclass(frozen=True, kw_only=True)
class GpuCase:
    """A case of the attack on compiled epochs, and what a GPU does with it."""

    case: networks.Case
    precision: str
    rate: int
    fits: int
    clear: bool
    piece: int
    steps: int
    validated: bool
    scale: float = 1.0  # of the rows: tiny ones become denormal numbers, which count as zero
    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    def rule(self) -> Any:
        """Return the optimizer with one of the schedules."""
        rates: list[Any] = [
            *(0.02, bp.Cosine(0.05, 7, 0.001), bp.StepDecay(0.05, 3), bp.WarmUp(4, 0.03), bp.Exponential(0.05, 3)),
            1e30,  # a loss that is not finite
        ]
        kinds = [bp.SGD, bp.Momentum, bp.Nesterov, bp.RMSProp, bp.Adam, bp.AdamW]
        rule: Any = kinds[self.case.rule % len(kinds)](rates[self.rate])
        return rule

    def least(self) -> float:
        """Return what any two results may differ by, relative to the largest element."""
        sums = max(self.case.sample.rows, self.case.many, 64)
        bound = compiled_state_rtol(self.case.dtype, 64) * math.sqrt(sums)
        return bound + (reduced_rtol(self.precision, 1) if self.precision in REDUCED else 0.0)

    def trained(self, backend: Any, move: int = 0, **more: Any) -> Arrays:
        """Train and ask; return all numbers, and the kinds of the errors raised.

        move: a seed; parameters and rows are moved by a unit of the dtype, up or down. 0: they are not.
        """
        case = self.case
        model = case.sample.model(backend, case.dtype)
        draw, unit = np.random.default_rng(move), float(np.finfo(case.dtype).eps) if move else 0.0

        def moved(value: Any) -> Any:
            return np.asarray(value) * (1 + unit * draw.choice([-1.0, 1.0], np.shape(value)))

        model.parameters = {name: moved(value) for name, value in model.parameters.items()}
        x, y, weights = case.sample.data()
        x = (moved(x) if move % 2 else x) * self.scale  # rows that are repeated round alike, at times
        x, y, weights = (case._rows(array) for array in (x, y, weights))
        x = x if move % 2 else moved(x)
        settings = {**case.settings, **self.settings, **more}
        if self.validated:
            half = max(1, len(x) // 2)
            settings["validation"] = (x[:half], y[:half])
        all_numbers: Arrays = {}
        for fit in range(self.fits if not more else 1):
            if fit and self.clear:
                bp.clear_caches()
            rule = self.rule()
            try:
                history = model.fit(x, y, optimizer=rule, weights=weights, **settings)
            except BpError as error:
                all_numbers[f"error {fit}"] = type(error).__name__
                break
            all_numbers[f"losses {fit}"] = history.loss
            all_numbers[f"validation {fit}"] = history.validation_loss
        all_numbers |= {**model.parameters, **model.running}
        all_numbers["predictions"] = model.predict(x)
        all_numbers["evaluation"] = np.array(list(model.evaluate(x, y, weights).values()))
        for name, gradient in model.loss_and_gradients(x, y, weights)[1].items():
            all_numbers[f"{GRADIENT}{name}"] = gradient
        return all_numbers

    def play(self, patch: pytest.MonkeyPatch, make: Make) -> Any:
        """Return the backend of a simulated GPU; of some cases evaluations are compiled, too."""
        played_cupy.play(patch, make)
        if self.piece == PIECES[0]:
            patch.setattr(compiled_function, "SMALL", 0)
        return bp.get_backend("cupy", precision=self.precision)

    def played(self, make: Make, **more: Any) -> Arrays:
        """Return the same of a simulated GPU."""
        with pytest.MonkeyPatch.context() as patch, flushed():
            return self.trained(self.play(patch, make), **more)

    def staged(self, make: Make) -> Arrays:
        """Return the same with rows that stay on the host."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(of_backend, "SMALL_PART", 1 << 62)
            patch.setattr(staging, "RESERVE", 1 << 62)
            patch.setattr(staging, "PIECE_BYTES", self.piece)
            bind = CudaProgram.bind

            def watched(program: Any, *arguments: Any) -> Any:
                rows = program.plan.step.rows
                program._driver.batch = rows[0].shape[0]
                program._driver.widths = tuple(n.size // n.shape[0] * n.dtype.itemsize for n in rows)
                return bind(program, *arguments)

            patch.setattr(CudaProgram, "bind", watched)
            return self.played(make)

    def resumed(self, make: Make) -> Arrays:
        """Return the same of a fit of so many steps that is resumed from its checkpoint by another model."""
        with tempfile.TemporaryDirectory() as folder:
            self.played(make, run=bp.RunFolder(folder, every=2), steps=self.steps, epochs=None)
            return self.played(make, run=folder, resume=True)

    def in_two_threads(self, make: Make) -> list[Arrays]:
        """Return the same twice, of two fits that run at the same time on one backend."""
        with pytest.MonkeyPatch.context() as patch:
            backend = self.play(patch, make)

            def alone(_: int) -> Arrays:
                with flushed():
                    return self.trained(backend)

            with ThreadPoolExecutor(2) as threads:
                return list(threads.map(alone, range(2)))


class CallByCall(Player):
    """A device that supports no graphs."""

    def capture(self, work: Callable[[], None]) -> Any:
        raise RuntimeError("no graphs here")


@dataclass
class Report:
    """What came of an attack."""

    seed: int
    fits: int = 0
    compiled: int = 0
    failures: list[str] = field(default_factory=list)
    room: float = 0.0  # the most that a difference needed, in those of moved fits; ROOM is allowed

    def __str__(self) -> str:
        summary = f"{self.fits} networks on a simulated GPU, {self.compiled} of them compiled, seed {self.seed}"
        summary += f", {self.room:.1f} of {ROOM:.0f} times rounding needed"
        return "\n".join([f"{summary}: {len(self.failures)} failures", *self.failures])


def with_own_parts(random: Random, sample: Sample, precision: str) -> Sample:
    """Return a sample, at times with a layer or a loss of a user's own."""
    network = sample.network
    layers, loss = list(network.layers), network.loss
    if random.random() < 0.3:
        as_written = random.random() < 0.15 and precision not in REDUCED  # where such a step is refused
        own: bp.Layer = Cumulative() if as_written else Gain()
        layers.insert(random.randrange(len(layers)), own)
    if loss.target == "values" and random.random() < 0.3 and not sample.weighted:
        loss = bp.CustomLoss(log_cosh_forward, log_cosh_backward)
    with suppress(BpError):  # of a layer that stands twice in the network, or is tied
        changed = replace(sample, network=bp.Network(network.inputs, layers, loss, network.penalties))
        changed.model()
        return changed
    return sample


def drawn(seed: int, number: int) -> GpuCase:
    """Return the case of a seed."""
    random, case = Random(f"cuda {seed} {number}"), networks.drawn(seed, number)
    many = random.choice(MANY)
    settings = {**case.settings}
    if many:
        settings["batch_size"] = random.choice([None, 7, 32, 64])
        settings["epochs"] = min(settings["epochs"], 2)
    if settings.get("batch_size") is None:
        settings.pop("accumulate", None)
    precision = case.dtype
    if precision == "float32" and random.random() < 0.4:
        precision = random.choice(["tf32", "bfloat16"])
    sample = with_own_parts(random, case.sample, precision)
    names = list(sample.model().parameters)
    if "only" in settings and settings["only"] not in names:
        del settings["only"]
    more: dict[str, Any] = {}
    if "only" not in settings and len(names) > 1 and random.random() < 0.2:
        more["freeze"] = random.choice(names)
    if "update" not in settings and random.random() < 0.15:
        more["shards"] = 2
    validated = random.random() < 0.4
    if validated and random.random() < 0.5:
        more["stop"] = bp.NoImprovement(1, restore_best=random.random() < 0.5)
        settings["epochs"] = 3
    elif random.random() < 0.2:
        more["stop"] = random.choice([bp.LossBelow(0.3), bp.LossBelow(1.0), bp.StepSizeBelow(0.02)])
    return GpuCase(
        case=replace(case, sample=sample, settings=settings, many=many), precision=precision,
        rate=random.choices(range(6), [6, 6, 6, 6, 6, 1])[0], fits=random.choice([1, 1, 2, 3]), clear=random.random() < 0.5,
        piece=random.choice(PIECES), steps=random.randrange(1, 5), validated=validated, settings=more,
        scale=1e-39 if case.dtype == "float32" and random.random() < 0.05 else 1.0,
    )  # fmt: skip


def different(one: Arrays, other: Arrays) -> str | None:
    """Say where two results have other bits."""
    if one.keys() != other.keys():
        return f"{sorted(one.keys() ^ other.keys())} in one of them"
    for name, value in one.items():
        if np.asarray(value).tobytes() != np.asarray(other[name]).tobytes():
            return f"{name}:\n{value}\n{other[name]}"
    return None


def largest(array: Any) -> float:
    """Return the largest finite absolute value of an array."""
    return float(np.abs(np.nan_to_num(np.asarray(array, np.float64), posinf=0.0, neginf=0.0)).max(initial=0.0))


def away(one: Arrays, other: Arrays, name: str, least: float = 1e-6) -> float:
    """Return the distance of two arrays, relative to the second's largest, `least` or more; infinity where shapes differ."""
    a, b = (np.asarray(arrays[name], np.float64) for arrays in (one, other))
    if a.shape != b.shape:
        return float("inf")
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    a, b = (np.nan_to_num(value, posinf=0.0, neginf=0.0) for value in (a, b))
    scale = max(float(np.abs(b).max(initial=0.0)), least)
    return float(np.abs(a - b).max(initial=0.0)) / scale


class Rounding:
    """NumPy's names, with products that round their operands as a GPU's do while `on`."""

    def __init__(self, precision: str) -> None:
        self._precision, self.on = precision, False

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def matmul(self, a: Any, b: Any) -> Any:
        """Return the product, of rounded operands while `on`; short ones are true float32 in tf32."""
        terms = a.shape[-1]
        short = self._precision == "tf32" and terms <= SHORT and a.shape[0] * b.shape[-1] * terms <= FEW
        if self.on and not short:
            a, b = (self._rounded(operand) for operand in (a, b))
        return np.matmul(a, b)

    def _rounded(self, x: Any) -> Any:
        if self._precision == "bfloat16":
            return exact(rounded(x))
        return (np.ascontiguousarray(x).view(np.uint32) + np.uint32(0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


class Reference(NumpyBackend):
    """NumPy, step by step as it is written. In a reduced precision products round in steps and in compiled evaluations."""

    patience = float("inf")

    def __init__(self, plan: GpuCase) -> None:
        super().__init__(plan.case.dtype)
        self._evaluations = plan.piece == PIECES[0]
        if plan.precision in REDUCED:
            self.xp: Any = Rounding(plan.precision)

    @contextmanager
    def _rounding(self, on: bool) -> Iterator[None]:
        if isinstance(self.xp, Rounding):
            self.xp.on = on
        yield
        if isinstance(self.xp, Rounding):
            self.xp.on = False

    def compile(self, step: Callable[..., Any], *, donate: Any = ()) -> Callable[..., Any]:
        run = super().compile(step, donate=donate)

        def rounding(*arguments: Any, **options: Any) -> Any:
            with self._rounding(self._evaluations):
                return run(*arguments, **options)

        return rounding

    def run_epoch(self, *arguments: Any, **options: Any) -> Any:
        with self._rounding(True):
            return super().run_epoch(*arguments, **options)


def wrong_numbers(plan: GpuCase, ours: Arrays, room: list[float] | None = None) -> str | None:
    """Say which numbers differ from NumPy's by more than rounding makes.

    How much rounding makes is measured: fits of NumPy's whose rows and parameters are moved by a unit of float32 or float64.
    room: gets how many times as much a difference is.
    """
    with flushed():
        wanted = plan.trained(Reference(plan))
        moved = [plan.trained(Reference(plan), 1 + k) for k in range(MOVED)]
        if plan.precision == "float32" and plan.scale == 1.0:  # NumPy's own roundings; float64 has no such denormals
            exactly = replace(plan, precision="float64", case=replace(plan.case, dtype="float64"))
            moved.append(exactly.trained(Reference(exactly)))
    if any(wanted.keys() != other.keys() for other in moved):
        return None  # a rule or an error that depends on rounding
    if wanted.keys() != ours.keys():
        return f"NumPy gives {sorted(wanted)}, CUDA {sorted(ours)}"
    least, smallest = plan.least(), 1e-6 if plan.scale == 1.0 else 1e-45
    for name, value in wanted.items():
        if name.startswith("error"):
            if ours[name] != value:
                return f"NumPy raises {value}, CUDA {ours[name]}"
            continue
        # a gradient that is zero but for rounding is the sum of terms as large as those of the others
        of_gradients = name.startswith(GRADIENT) and plan.scale == 1.0
        scale = (
            max(smallest, *(largest(wanted[n]) for n in wanted if n.startswith(GRADIENT))) if of_gradients else smallest
        )
        here = away(ours, wanted, name, scale)
        sensitive = max(away(other, wanted, name, scale) for other in moved)
        if room is not None and here > least:
            room.append((here - least) / max(sensitive, 1e-300))
        if here > least + ROOM * sensitive:
            return (
                f"{name} by {here:.1e}, moved by a unit {sensitive:.1e}, at least {least:.1e}:\n{value}\n{ours[name]}"
            )
    return None


def problem(plan: GpuCase, players: list[Player] | None = None, room: list[float] | None = None) -> str | None:
    """Return what is wrong with a case; None where every way gives the same bits, and NumPy's numbers."""

    def make(order: int) -> Player:
        player = Player(order)
        if players is not None:
            players.append(player)
        return player

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*cannot compile.*")
        warnings.filterwarnings("error", message=".*no CUDA graph.*")
        try:
            ours = plan.played(partial(make, 0))
            ways: dict[str, Callable[[], Arrays]] = {
                name: lambda order=order: plan.played(partial(make, order)) for name, order in ORDERS.items() if order
            }
            for schedule in (LATE, EARLY):
                ways[f"rows on the host, {schedule}"] = lambda schedule=schedule: plan.staged(
                    lambda: Streams(schedule=schedule)
                )
            ways["two threads, first"] = lambda: plan.in_two_threads(Player)[0]
            if plan.fits == 1 and len(ours.get("losses 0", ())) > plan.steps:
                ways["resumed"] = lambda: plan.resumed(Player)
            ways["call by call"] = lambda: plan.played(CallByCall)
            for name in Random(repr(plan.case.sample.seed)).sample(sorted(ways), WAYS):
                if name == "call by call":
                    warnings.filterwarnings("ignore", message=".*no CUDA graph.*")
                if other := different(ours, ways[name]()):
                    return f"{name}: {plan}\n{other}"
            other = wrong_numbers(plan, ours, room)
        except Exception:
            return f"{plan}\n{traceback.format_exc()}"
    return f"{plan}\n{other}" if other else None


def attack(seconds: float, seed: int, first: int = 0, most: int = sys.maxsize) -> Report:
    """Train and compare for so many seconds, or so many cases."""
    report, end, number = Report(seed), time.monotonic() + seconds, first
    if compiler_missing():
        print(compiler_missing())
        return report
    while time.monotonic() < end and report.fits < most:
        players, room = list[Player](), [report.room]
        wrong = problem(drawn(seed, number), players, room)
        report.fits += 1
        report.room = max(room)
        report.compiled += any(player.replays for player in players)
        if wrong:
            report.failures.append(f"--seed {seed} --number {number}: {wrong}")
            print(report.failures[-1], flush=True)
        number += 1
    return report


if __name__ == "__main__":
    sys.exit(run("cuda_fits", __doc__, attack))
