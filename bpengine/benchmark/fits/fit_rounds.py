"""The rounds of whole fits: caches are filled, then every entrant's process runs once in each round, one after another."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bpengine.benchmark.contenders import Contender, in_place
from bpengine.benchmark.fits.entrants import FILLS, Entrant, entrants
from bpengine.benchmark.fits.fit_files import FitData, Judgement, OwnFit
from bpengine.benchmark.fits.fit_process import FitTimes, run_fit
from bpengine.benchmark.fits.fit_results import FitResult, FitTrial
from bpengine.benchmark.fits.fit_workloads import FitWorkload
from bpengine.benchmark.processes.process import WorkerFailed
from bpengine.benchmark.turns import Rotation
from bpengine.errors import in_english

VARIANTS = 3  # fits of rows that are rounded otherwise
# How many times as far as among these fits and the first the losses of contenders may be apart. Of four normal numbers the
# range is below 0.76 deviations in one case of twenty, so the bound is three deviations or more in the other nineteen.
MARGIN = 4.0


@dataclass(kw_only=True)
class FitRounds:
    """The entrants of a workload, with their folder. without: environment variables to remove from their processes."""

    data: FitData
    entrants: Sequence[Entrant]
    folder: Path
    without: tuple[str, ...] = ()
    results: dict[str, FitResult] = field(default_factory=dict, init=False)
    failures: dict[str, str] = field(default_factory=dict, init=False)
    about: dict[str, dict[str, object]] = field(default_factory=dict, init=False)
    rounding: float = field(default=0.0, init=False)

    def prepare(self, say: Callable[[str], None]) -> None:
        """Write the data, and run every entrant once, untimed: this reads files, writes bytecode and fills caches."""
        (self.folder / "data").mkdir()
        self.data.write(self.folder / "data")
        first: tuple[Entrant, float] | None = None
        for number, entrant in enumerate(self.entrants, 1):
            self._caches(entrant).mkdir()
            if entrant.cache != "empty":
                say(in_place("first fit", entrant.contender.title, number, len(self.entrants)))
                ran = self._run(entrant, FILLS.get(entrant.contender.name))
                first = first or (ran and (entrant, ran[1].loss))
        if self.data.is_own and first:
            self.rounding = self._rounding(*first, say)

    def _rounding(self, entrant: Entrant, loss: float, say: Callable[[str], None]) -> float:
        """Return how far apart the losses of equal fits may be, relative to the loss.

        A long fit of a user's rows may amplify each rounding without bound, so that is measured: the same contender fits the
        rows after each number was rounded up or down at random.
        """
        losses, folder = [loss], self.folder / "variant"
        for variant in range(1, VARIANTS + 1):
            say(in_place("another rounding", entrant.contender.title, variant, VARIANTS))
            folder.mkdir()
            self.data.write(folder, variant)
            ran = self._run(entrant, folder=folder)
            losses += [ran[1].loss] if ran else []
            shutil.rmtree(folder)
        apart = max(losses) - min(losses)
        return MARGIN * apart / abs(loss) if loss and math.isfinite(apart) else 0.0

    def play(self, rotation: Rotation, say: Callable[[str, float], None]) -> None:
        """Run the rounds; `say` hears whose turn it is, and which share of the rounds is done."""
        for turn in rotation.turns(self.entrants, self._own_spreads):
            say(in_place(turn.round_name, turn.contender.title, turn.place, len(self.entrants)), turn.share)
            self._turn(turn.contender)

    def _own_spreads(self) -> list[float]:
        return [result.spread for result in self.results.values() if result.own]

    def trial(self) -> FitTrial:
        """Return the measurements."""
        results = {e.name: self.results[e.name] for e in self.entrants if e.name in self.results}
        return FitTrial(
            workload=self.data.work, results=results, failures=self.failures, about=self.about, rounding=self.rounding
        )

    def _turn(self, entrant: Entrant) -> None:
        if entrant.cache == "empty":
            shutil.rmtree(self._caches(entrant))
            self._caches(entrant).mkdir()
        if ran := self._run(entrant):
            new = FitResult(name=entrant.name, first_seconds=0.0, own=entrant.contender.own)
            self.results.setdefault(entrant.name, new).add_fit(self.data.work, *ran)

    def _run(
        self, entrant: Entrant, argument: str | None = None, folder: Path | None = None
    ) -> tuple[FitTimes, Judgement] | None:
        """Run a process and judge its weights; return None where the entrant fails, or has failed before."""
        if entrant.name in self.failures:
            return None
        data, out = folder or self.folder / "data", self.folder / "turn"
        out.mkdir()
        try:
            times = run_fit(entrant, data, out, self._caches(entrant), argument=argument, without=self.without)
            about = json.loads((out / "about.json").read_text())
            self.about.setdefault(entrant.contender.name, {"title": entrant.contender.title, **about})
            return times, self.data.judge(out)
        except WorkerFailed as error:
            self.failures[entrant.name] = in_english(error)
            self.results.pop(entrant.name, None)
            return None
        finally:
            shutil.rmtree(out)

    def _caches(self, entrant: Entrant) -> Path:
        return self.folder / f"caches-{self.entrants.index(entrant)}"


def fit_trial(
    work: FitWorkload,
    contenders: Sequence[Contender],
    *,
    rotation: Rotation,
    without: tuple[str, ...] = (),
    own: OwnFit | None = None,
    tell: Callable[[str, float], None] = lambda doing, share: None,
) -> FitTrial:
    """Measure one workload of whole fits; `tell` is called with the current activity and the share that is done.

    own: a user's rows. Raises BackendUnavailable for digits where scikit-learn, which contains them, is missing.

    >>> from bpengine.benchmark import FitWorkload, choose
    >>> from bpengine.benchmark.fits.fit_rounds import fit_trial
    >>> from bpengine.benchmark.turns import Rotation
    >>> tiny = FitWorkload("tiny", "two small fits", ((4, 8, 3),), 16, rows=40, epochs=2, fits=2)
    >>> trial = fit_trial(tiny, choose(["numpy"], []), rotation=Rotation(rounds=1, extra=0, budget_seconds=1.0))
    >>> list(trial.results), trial.failures
    (['numpy'], {})
    """
    with tempfile.TemporaryDirectory(prefix="bpengine-bench-") as folder:
        tell("drawing the data" if own is None else "writing the data", 0.0)
        rounded = FitRounds(
            data=FitData(work, own),
            entrants=entrants(contenders, own_only=work.own_only),
            folder=Path(folder),
            without=without,
        )
        rounded.prepare(lambda doing: tell(doing, 0.1))
        rounded.play(rotation, lambda doing, part: tell(doing, 0.2 + 0.8 * part))
        return rounded.trial()
