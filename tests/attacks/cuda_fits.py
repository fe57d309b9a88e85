"""Random networks trained by the CUDA target on a simulated GPU: the same bits in each way to run them, and NumPy's numbers.

    python -m tests.attacks.cuda_fits --seconds 1800 --seed 0

Needs g++ on x86-64 Linux, and no GPU. A case is a network of the attack on NumPy's compiled epochs, with layers and losses
of a user's own, a precision, a schedule, validation, rules, several fits on one model. It is trained in some of these
ways: with blocks and threads in another order, with rows that stay on the host, call by call, interrupted and resumed, in two
threads. The bits must not change. Then it is compared with NumPy: the difference may be some times as large as the one that
a unit of rounding in the parameters makes. A case is drawn by (seed, number) alone; `--number` runs it again.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest
from bpengine_cupy import backend as of_backend
from bpengine_cupy.cuda_target import staging
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import flushed
from bpengine_steps.functions import compiled_function

import bpengine as bp
from bpengine.errors import BpError
from tests.attacks import networks
from tests.attacks.running import run
from tests.backends.cuda_host import played_cupy
from tests.backends.cuda_host.player import ORDERS, Player, compiler_missing
from tests.backends.cuda_host.streams import EARLY, LATE, Streams

Arrays = dict[str, Any]
Make = Callable[[], Player]
MANY = (0, 0, 0, 70, 300, 2100)  # rows that a sample's are repeated to
UNIT = {"float64": 2.0**-52, "float32": 2.0**-23, "tf32": 2.0**-11, "bfloat16": 2.0**-8}
ROOM = 1000.0  # times the difference that a unit of rounding in the parameters makes
PIECES = (1, 300, 1 << 26)  # bytes of rows that are copied at once
WAYS = 3  # besides the first, of those to run a case
LEAST = 4096.0  # units in which any two results may differ


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
    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    def rule(self) -> Any:
        """Return the optimizer with one of the schedules."""
        rates: list[Any] = [0.02, bp.Cosine(0.05, 7, 0.001), bp.StepDecay(0.05, 3), bp.WarmUp(4, 0.03)]
        kinds = [bp.SGD, bp.Momentum, bp.Nesterov, bp.RMSProp, bp.Adam, bp.AdamW]
        rule: Any = kinds[self.case.rule % len(kinds)](rates[self.rate])
        return rule

    def trained(self, backend: Any, unit: float = 0.0, **more: Any) -> Arrays:
        """Train and ask; return all numbers, and the kinds of the errors raised. unit: by how much parameters are moved."""
        case = self.case
        model = case.sample.model(backend, case.dtype)
        draw = np.random.default_rng(0)
        model.parameters = {
            name: np.asarray(value) * (1 + unit * draw.choice([-1.0, 1.0], np.shape(value)))
            for name, value in model.parameters.items()
        }
        x, y, weights = (case._rows(array) for array in case.sample.data())
        settings = {**case.settings, **self.settings, **more}
        if self.validated:
            half = max(1, len(x) // 2)
            settings["validation"] = (x[:half], y[:half])
        all_numbers: Arrays = {}
        for fit in range(self.fits if not more else 1):
            if fit and self.clear:
                bp.clear_caches()
            try:
                history = model.fit(x, y, optimizer=self.rule(), weights=weights, **settings)
            except BpError as error:
                all_numbers[f"error {fit}"] = type(error).__name__
                break
            all_numbers[f"losses {fit}"] = history.loss
            all_numbers[f"validation {fit}"] = history.validation_loss
        all_numbers |= {**model.parameters, **model.running}
        all_numbers["predictions"] = model.predict(x)
        all_numbers["evaluation"] = np.array(list(model.evaluate(x, y, weights).values()))
        for name, gradient in model.loss_and_gradients(x, y, weights)[1].items():
            all_numbers[f"gradient of {name}"] = gradient
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

    def __str__(self) -> str:
        summary = f"{self.fits} networks on a simulated GPU, {self.compiled} of them compiled, seed {self.seed}"
        return "\n".join([f"{summary}: {len(self.failures)} failures", *self.failures])


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
    sample, network = case.sample, case.sample.network
    layers, loss = list(network.layers), network.loss
    if random.random() < 0.3:
        own: bp.Layer = Cumulative() if random.random() < 0.15 else Gain()
        layers.insert(random.randrange(len(layers)), own)
    if loss.target == "values" and random.random() < 0.3 and not sample.weighted:
        loss = bp.CustomLoss(log_cosh_forward, log_cosh_backward)
    with suppress(BpError):  # of a layer that stands twice in the network, or is tied
        changed = replace(sample, network=bp.Network(network.inputs, layers, loss, network.penalties))
        changed.model()
        sample = changed
    precision = case.dtype
    if precision == "float32" and random.random() < 0.4:
        precision = random.choice(["tf32", "bfloat16"])
    if "only" in settings and settings["only"] not in sample.model().parameters:
        del settings["only"]
    more: dict[str, Any] = {}
    validated = random.random() < 0.4
    if validated and random.random() < 0.5:
        more["stop"] = bp.NoImprovement(1, restore_best=random.random() < 0.5)
        settings["epochs"] = 3
    elif random.random() < 0.2:
        more["stop"] = bp.LossBelow(random.choice([0.3, 1.0]))
    return GpuCase(
        case=replace(case, sample=sample, settings=settings, many=many), precision=precision,
        rate=random.randrange(4), fits=random.choice([1, 1, 2, 3]), clear=random.random() < 0.5,
        piece=random.choice(PIECES), steps=random.randrange(1, 5), validated=validated, settings=more,
    )  # fmt: skip


def different(one: Arrays, other: Arrays) -> str | None:
    """Say where two results have other bits."""
    if one.keys() != other.keys():
        return f"{sorted(one.keys() ^ other.keys())} in one of them"
    for name, value in one.items():
        if np.asarray(value).tobytes() != np.asarray(other[name]).tobytes():
            return f"{name}:\n{value}\n{other[name]}"
    return None


def away(one: Arrays, other: Arrays, name: str) -> float:
    """Return the distance of two arrays, relative to the second; infinity where shapes differ."""
    a, b = (np.asarray(arrays[name], np.float64) for arrays in (one, other))
    if a.shape != b.shape:
        return float("inf")
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    a, b = (np.nan_to_num(value, posinf=0.0, neginf=0.0) for value in (a, b))
    scale = max(float(np.abs(b).max(initial=0.0)), 1e-6)
    return float(np.abs(a - b).max(initial=0.0)) / scale


def wrong_numbers(plan: GpuCase, ours: Arrays) -> str | None:
    """Say which numbers differ from NumPy's by more than rounding makes."""
    plain = type("Plain", (NumpyBackend,), {"patience": float("inf")})
    unit = UNIT[plan.precision]
    with flushed():
        wanted = plan.trained(plain(plan.case.dtype))
        moved = [plan.trained(plain(plan.case.dtype), sign * unit) for sign in (1.0, -1.0)]
    if any(wanted.keys() != other.keys() for other in moved):
        return None  # a rule or an error that depends on rounding
    if wanted.keys() != ours.keys():
        return f"NumPy gives {sorted(wanted)}, CUDA {sorted(ours)}"
    for name, value in wanted.items():
        if name.startswith("error"):
            if ours[name] != value:
                return f"NumPy raises {value}, CUDA {ours[name]}"
            continue
        here = away(ours, wanted, name)
        sensitive = max(away(other, wanted, name) for other in moved)
        if here > LEAST * unit + ROOM * sensitive:
            return f"{name} by {here:.1e}, moved parameters by {sensitive:.1e}:\n{value}\n{ours[name]}"
    return None


def problem(plan: GpuCase, players: list[Player] | None = None) -> str | None:
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
            other = wrong_numbers(plan, ours)
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
        players: list[Player] = []
        wrong = problem(drawn(seed, number), players)
        report.fits += 1
        report.compiled += any(player.replays for player in players)
        if wrong:
            report.failures.append(f"--seed {seed} --number {number}: {wrong}")
        number += 1
    return report


if __name__ == "__main__":
    sys.exit(run("cuda_fits", __doc__, attack))
