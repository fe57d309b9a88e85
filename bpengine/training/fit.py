"""The settings of a fit, checked, and the trainer made from them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bpengine.backend import Backend, HostArray, State, Step
from bpengine.distributed.comm import Comm, Solo
from bpengine.distributed.tree import Cut
from bpengine.errors import ConfigError, DataError, flag, in_english, number, unknown, whole
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.layers import BatchNorm
from bpengine.layers.layer import Arrays, Layer, Run
from bpengine.layers.residual import neediest
from bpengine.network import Network
from bpengine.ops import Ops, Slots
from bpengine.streams import dropout_counter
from bpengine.system.lru_cache import LruCache
from bpengine.training.batching import Source, make_source
from bpengine.training.callbacks import Callback, Stateful, Watcher, make_callbacks, reads_epochs_alone
from bpengine.training.checkpoints.beginning import Beginning, continued, end_of, resumed
from bpengine.training.checkpoints.run_folder import RunFolder, make_run_folder
from bpengine.training.evaluation import Evaluator
from bpengine.training.history import History
from bpengine.training.joint.fit_execution import FitExecution, SingleExecution
from bpengine.training.loop import OnEpoch, Trainer
from bpengine.training.memory.run_state import RunState
from bpengine.training.metrics.choice import AnyMetric, Asked, choose_metrics, listed, watched
from bpengine.training.metrics.known_metrics import LOSS
from bpengine.training.optimizers import Optimizer, is_own, make_optimizer, without_rate
from bpengine.training.progress import Progress
from bpengine.training.reuse import CompiledNetwork, identity
from bpengine.training.rows import Rows, check_rows, evaluated_names
from bpengine.training.selection import require_some, select
from bpengine.training.step import StepPlan, make_step
from bpengine.training.stopping import Rule, Rules, make_rules
from bpengine.training.updates.update import all_finite, init_slots

if TYPE_CHECKING:
    from bpengine.training.checkpoints.checkpointer import Checkpointer

UPDATES = ("simultaneous", "sequential")


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """A network with its parameters on a backend, ready to be trained.

    steps: those compiled for it alone so far. shared: the functions compiled for equal networks, None without any.

    names, running: names of the parameters and of the running statistics. arrays() returns {"params", "running"} before
    the fit, each time as arrays that the fit may write into. fits: fits before this one. settings: what a model file has.
    untouched(run_state) says whether the arrays are still those that the fit which ended with `run_state` left.
    execution: provides the fit's rows, its step and its epochs.
    """

    network: Network
    backend: Backend
    ops: Ops
    names: tuple[str, ...]
    arrays: Callable[[], State]
    seed: int
    evaluator: Evaluator
    steps: LruCache[Any] = field(default_factory=LruCache)
    shared: CompiledNetwork | None = None
    running: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fits: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    untouched: Callable[[RunState], bool] = lambda run_state: False
    execution: FitExecution = field(default_factory=SingleExecution)

    def compiled(self, optimizer: Optimizer) -> CompiledNetwork:
        """Return the cache of steps with this rule: a custom rule may do anything, so its steps are not shared."""
        if self.shared is None:
            return CompiledNetwork(self.network, self.backend, self.ops, self.steps)
        return replace(self.shared, steps=self.steps) if is_own(optimizer) else self.shared


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """The settings of `Model.fit`; raises ConfigError for an invalid one, before anything is changed.

    log: whether the fit logs its progress; beside others of one call it does not, whose own lines say how many are over.
    """

    optimizer: str | Optimizer = "adam"
    batch_size: int | None = None
    epochs: int | None = None
    steps: int | None = None
    validation: Sequence[Any] | None = None
    metrics: Asked | Sequence[Asked] | None = ()
    only: str | Sequence[str] | None = None
    update: str = "simultaneous"
    clip_norm: float | None = None
    stop: Rule | Sequence[Rule] | None = ()
    shuffle: bool = True
    callbacks: Callback | Sequence[Callback] | None = ()
    progress: bool = False
    track_step_size: bool | None = None
    freeze: str | Sequence[str] = ()
    accumulate: int = 1
    run: RunFolder | str | os.PathLike[str] | None = None
    resume: bool = False
    continue_from: History | None = None
    shards: int | None = None
    comm: Comm | None = None
    log: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "accumulate", whole(self.accumulate, "fit", "accumulate"))
        object.__setattr__(self, "comm", _communicator(self.comm))
        for name in ("batch_size", "epochs", "steps", "shards"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole(getattr(self, name), "fit", name))
        object.__setattr__(self, "run", make_run_folder(self.run))
        for name in ("shuffle", "progress", "resume"):
            flag(getattr(self, name), "fit", name)
        if self.track_step_size is not None:
            flag(self.track_step_size, "fit", "track_step_size")
        object.__setattr__(self, "metrics", tuple(listed(self.metrics)))
        object.__setattr__(self, "callbacks", make_callbacks(self.callbacks))
        if self.epochs is None and self.steps is None:
            raise ConfigError("fit requires a limit, got neither epochs nor steps. For example: epochs=20.")
        if self.update not in UPDATES:
            raise unknown("update", self.update, UPDATES)
        if self.clip_norm is not None:
            number(self.clip_norm, "fit", "clip_norm", low=0, above=True)
        self._require_agreement()

    def _require_agreement(self) -> None:
        """Raise ConfigError for settings that exclude each other."""
        if self.resume and self.run is None:
            raise ConfigError('resume requires the folder of the run, got none. Pass run=bp.RunFolder("run/").')
        if self.continue_from is not None and not isinstance(self.continue_from, History):
            raise ConfigError(
                f"continue_from requires the History that a fit returned, got {type(self.continue_from).__name__}."
            )
        if self.clip_norm is not None and self.update == "sequential":
            raise ConfigError(
                "clip_norm requires all gradients at once; update='sequential' takes them one by one. Drop one."
            )
        if self.accumulate > 1 and self.batch_size is None:
            raise ConfigError(
                f"accumulate requires batch_size, the rows that are run at a time, got accumulate={self.accumulate} without."
            )
        if self.accumulate > 1 and self.update == "sequential":
            raise ConfigError(
                "accumulate requires all gradients before an update; update='sequential' takes them one by one. Drop one."
            )
        if self.shards is not None and self.update == "sequential":
            raise ConfigError(
                "shards requires all gradients before an update; update='sequential' takes them one by one. Drop one."
            )
        if self.processes.size > (self.shards or 1):
            raise ConfigError(
                f"fit requires at least as many shards as processes, got shards={self.shards} on {self.processes.size} "
                f"processes. For example: shards={max(16, 4 * self.processes.size)}. The results depend on the shards alone."
            )
        self._require_validation()

    def _require_validation(self) -> None:
        """Raise ConfigError for validation data that are no pair, and for metrics without any."""
        if self.validation is not None:
            several = isinstance(self.validation, (tuple, list))
            if not several or len(self.validation) not in (2, 3):
                got = f"{len(self.validation)} arrays" if several else type(self.validation).__name__
                raise ConfigError(f"fit requires validation=(x, y) or (x, y, weights), got {got}.")
        elif self.metrics:
            raise ConfigError("metrics require validation data, got none. Pass validation=(x, y) to fit.")

    def rows(self, network: Network, arrays: Sequence[Any], dtype: str, who: str = "x") -> Rows:
        """Return x, y and weights ready for the network; each process checks a part of x, and all raise the error of one.

        Raises ShapeError or DataError naming what is wrong and where.
        """
        comm = self.processes
        try:
            rows = check_rows(network, *arrays, dtype=dtype, who=who, part=(comm.rank, comm.size))
        except DataError as error:
            raise DataError(comm.first(in_english(error))) from None
        if elsewhere := comm.first(None):
            raise DataError(elsewhere)
        return rows

    def trainer(self, trainable: Trainable, rows: Rows, on_epoch: OnEpoch | None) -> Trainer:
        """Return the trainer."""
        network, backend = trainable.network, trainable.backend
        if self.update == "sequential":
            _require_unshared(network, trainable.names)
        optimizer, rules = make_optimizer(self.optimizer), make_rules(self.stop, validation=self.validation is not None)
        trained, stay = choose(network.names(trainable.names), self.only, self.freeze, trainable.running)
        frozen = frozen_layers(trainable.running, stay)
        execution = trainable.execution
        subset, count, weights = execution.subset, len(rows.x), rows.weights
        if subset is not None:
            count, weights = len(subset), None if weights is None else weights[subset]
        least = self._least(network, count, weights, frozen)
        end = self._end(trainable, optimizer, trained)
        source = make_source(
            backend, rows.arrays, rows.dtypes(backend.dtype), self._batch(count), end.seed if end else trainable.seed,
            shuffle=self.shuffle, least=least, own=self._own, subset=subset, bring=execution.bring,
        )  # fmt: skip
        plan = self._plan(optimizer, rules, trained, frozen, full=source.batch >= source.rows)
        metrics, monitor = self._scoring(trainable.evaluator, rules)
        validate = self._validation(trainable, metrics)
        beginning = self._beginning(trainable, plan, source, end, monitor.name)
        checkpoints = None
        if self.processes.size > 1 or self.run is not None:
            # not at the top: other fits need neither these nor what they load
            from bpengine.distributed.alike import require_alike, warn_unlike
            from bpengine.training.checkpoints.fit_identity import circumstances

            identity, around = self._identity(trainable, plan, rules, source, rows), circumstances(backend)
            identity["fit"] |= {"metrics": {m.name: m.larger_is_better for m in metrics}} if metrics else {}
            require_alike(self.processes, {**identity, **identity["fit"], "fit": ""})
            warn_unlike(self.processes, around)
            checkpoints = self._checkpointer(trainable, identity, around)
        if checkpoints and (newest := checkpoints.begin(resume=self.resume)):
            beginning = resumed(beginning, checkpoints, newest)
        return Trainer(
            network=network,
            backend=backend,
            all_finite=_finite_test(trainable),
            step=self._steps(trainable, plan),
            run_epoch=execution.run_epoch,
            comm=self.processes,
            cut=self._cut,
            source=replace(source, shift=beginning.shift),
            schedule=optimizer.schedule,
            rules=rules,
            rule=optimizer.rule,
            validate=validate,
            watched=monitor,
            # process 0's callbacks are called, also where the other processes were given none
            on_epoch=on_epoch if self.processes.lead(bool(self.called)) else None,
            epochs_alone=self.processes.lead(all(map(reads_epochs_alone, self.called))),
            beginning=beginning,
            checkpoints=checkpoints,
        )

    def _end(self, trainable: Trainable, optimizer: Optimizer, trained: tuple[str, ...]) -> RunState | None:
        """Return where the fit ended that this one continues, None for a new fit."""
        if self.continue_from is None:
            return None
        return end_of(self.continue_from, optimizer.rule, {name: trainable.shapes[name] for name in trained})

    def _scoring(self, evaluator: Evaluator, rules: Rules) -> tuple[tuple[AnyMetric, ...], AnyMetric]:
        """Return the metrics of the validation rows, and the one that a rule watches, which is always among the scores."""
        network, own = evaluator.network, evaluated_names(evaluator.network, evaluator.unit)
        metrics = choose_metrics(self.metrics, network, own)
        if rules.validation is None:
            return metrics, LOSS
        monitor = watched("NoImprovement", rules.validation.monitor, metrics, network, own)
        known = monitor.name in (*own, *(metric.name for metric in metrics))
        return (metrics if known else (*metrics, monitor)), monitor

    def _beginning(
        self, trainable: Trainable, plan: StepPlan, source: Source, end: RunState | None, monitor: str
    ) -> Beginning:
        new = Beginning(state=lambda: _first_state(trainable, plan), epochs=self.epochs, steps=self.steps)
        if end is None or self.continue_from is None:
            return new
        return continued(
            new, trainable.backend, self.continue_from, end, untouched=trainable.untouched(end),
            epoch_steps=source.epoch_steps, watched=monitor,
        )  # fmt: skip

    def _identity(
        self, trainable: Trainable, plan: StepPlan, rules: Rules, source: Source, rows: Rows
    ) -> dict[str, Any]:
        """Return what distinguishes this fit from others, as JSON values; the number of processes is no part of it."""
        from bpengine.training.checkpoints.fit_identity import described, fingerprint, network_identity

        backend, before, own = trainable.backend, self.continue_from, trainable.arrays()
        return {
            "network": network_identity(trainable.network, trainable.shapes),
            "backend": [backend.name, backend.precision, backend.device.partition(":")[0]],
            "data": [fingerprint(array) for array in rows.arrays],
            "validation": [fingerprint(np.asarray(array)) for array in self.validation or ()],
            "parameters": [fingerprint(backend.to_numpy(a)) for part in own.values() for a in part.values()],
            "fit": {
                "seed": source.seed, "batch_size": source.batch, "shuffle": self.shuffle, "accumulate": self.accumulate,
                "shards": self.shards, "plan": described(plan),
                "stop": described(rules), "callbacks": _kinds(self.called),
                "continued from step": 0 if before is None else before.steps,
            },
        }  # fmt: skip

    def _checkpointer(
        self, trainable: Trainable, identity: dict[str, Any], around: dict[str, Any]
    ) -> Checkpointer | None:
        if not isinstance(self.run, RunFolder):
            return None
        from bpengine.training.checkpoints.checkpointer import Checkpointer

        before = self.continue_from
        number = f"fit{max(trainable.fits - 1, 0)}+{before.steps}" if before is not None else f"fit{trainable.fits}"
        return Checkpointer(
            self.run, trainable.backend, fit=number, identity=identity, circumstances=around, settings=trainable.settings,
            memories=[callback for callback in self.called if isinstance(callback, Stateful)], comm=self.processes,
        )  # fmt: skip

    @property
    def processes(self) -> Comm:
        """The processes that train together; this one alone, where none were given."""
        assert self.comm is not None  # since __post_init__
        return self.comm

    def _cut(self, batch: int) -> Cut | None:
        return None if self.shards is None else Cut.of(batch, self.shards, self.processes.rank, self.processes.size)

    def _own(self, batch: int) -> slice:
        cut = self._cut(batch)
        return slice(0, batch) if cut is None else cut.rows

    def _steps(self, trainable: Trainable, plan: StepPlan) -> Callable[[int], Step]:
        """Return the step for each size of a batch; without shards it is one for all."""
        compiled, plan = trainable.compiled(plan.optimizer), replace(plan, optimizer=without_rate(plan.optimizer))
        network, ops, steps, backend = compiled.network, compiled.ops, compiled.steps, compiled.backend
        if self.shards is None:
            one = trainable.execution.step(compiled, plan)
            return lambda batch: one
        # such a step holds the buffers that move sums between the processes of this fit
        if type(self.processes) is not Solo:
            steps = trainable.steps
        by_batch: dict[int, Step] = {}  # held here too: a step that is dropped from `steps` is compiled again

        def step(batch: int) -> Step:
            if batch not in by_batch:
                cut = self._cut(batch)
                assert cut is not None  # there are shards
                own, adder = replace(plan, cut=cut), backend.adder(cut, self.processes)
                by_batch[batch] = steps.get(
                    (own.key, self.processes), lambda: adder.around(make_step(network, own, ops, add_up=adder))
                )
            return by_batch[batch]

        return step

    @property
    def called(self) -> tuple[Callback, ...]:
        """The callbacks."""
        return make_callbacks(self.callbacks)

    def bar(self) -> Progress:
        """Return what shows the progress, on process 0 alone."""
        first = self.processes.rank == 0
        return Progress(show=self.progress and first, log=self.log and first)

    def _batch(self, rows: int) -> int | None:
        """Return the rows of a step: `accumulate` batches make one."""
        if self.batch_size is None:
            return None
        if self.batch_size > rows:
            warnings.warn(
                localized(
                    f"batch_size {self.batch_size} is more than the {count_of(rows, 'row')}: training on the full batch."
                ),
                stacklevel=4,
            )
        return self.batch_size * self.accumulate

    def _least(self, network: Network, rows: int, weights: HostArray | None, frozen: frozenset[str]) -> int:
        """Return the smallest batch of the network; raise ConfigError for a batch size or a number of rows below it.

        With shards, each shard must have at least the rows that a layer with statistics over the rows needs.
        """
        least, layer = neediest(network.layers, Run(True, frozen=frozen))
        if self.shards is not None and least > 1:
            _require_over_shards(layer)
            least *= self.shards
        kind = type(layer).__name__
        counted = rows if weights is None or least == 1 else int(np.count_nonzero(weights))
        if counted < min(least, rows):
            raise ConfigError(
                f"fit requires at least {least} rows with a weight above 0 with {kind}, got {counted}. A weight of 0 leaves a "
                "row out. Give other weights."
            )
        batch = min(rows, self.batch_size or rows)
        if batch >= least:
            if 0 < rows % batch < least:
                warnings.warn(
                    localized(
                        f"batch_size {batch} leaves {rows % batch} of {rows} rows over at the end of an epoch, too few for "
                        f"{kind}: the last batch has {count_of(batch + rows % batch, 'row')}."
                    ),
                    stacklevel=4,
                )
            return least
        got = f"batch_size={self.batch_size}" if rows >= least else count_of(rows, "row")
        why = "Its smallest_batch says so. Give larger batches."
        if self.shards is not None:
            why = f"Each of {self.shards} shards is normalised by itself. Give larger batches, or fewer shards."
        elif isinstance(layer, BatchNorm):
            why = (
                "One row has no variance: its output is beta whatever x is, and the running variance would tend to 0. "
                "Give larger batches, or use LayerNorm."
            )
        raise ConfigError(f"fit requires at least {least} rows in a step with {kind}, got {got}. {why}")

    def _plan(
        self, optimizer: Optimizer, rules: Rules, trained: tuple[str, ...], frozen: frozenset[str], *, full: bool
    ) -> StepPlan:
        wanted = self.track_step_size if self.track_step_size is not None else full
        return StepPlan(
            optimizer=optimizer,
            trained=trained,
            update=self.update,
            clip_norm=self.clip_norm,
            loss_below=rules.loss.value if rules.loss else None,
            step_below=rules.step_size.tolerance if rules.step_size else None,
            track_step_size=wanted or rules.step_size is not None,
            frozen=frozen,
            part=self.batch_size if self.accumulate > 1 else None,
        )

    def _validation(
        self, trainable: Trainable, metrics: Sequence[AnyMetric]
    ) -> Callable[[State], dict[str, Any]] | None:
        if self.validation is None:
            return None
        held_out = self.rows(trainable.network, self.validation, trainable.backend.dtype, "validation x")
        # without the arrays, which `trainable` would keep alive
        evaluator, comm, turn = trainable.evaluator, self.processes, trainable.execution.turn
        evaluator.require_scorable(metrics, held_out, "the validation rows")

        def validate(state: State) -> dict[str, Any]:
            with turn():
                return evaluator.evaluate(state["params"], state["running"], held_out, comm, metrics)

        return validate


def _kinds(callbacks: Sequence[Callback]) -> list[str]:
    """Return the kinds of the callbacks that may change a fit; those that only observe do not count."""
    return [type(callback).__qualname__ for callback in callbacks if not isinstance(callback, Watcher)]


def _communicator(comm: object) -> Comm:
    """Return the communicator, this process alone for None; raise ConfigError for anything else."""
    if comm is None:
        return Solo()
    if isinstance(comm, type) or not all(hasattr(comm, name) for name in ("rank", "size", "add_up", "lead")):
        raise ConfigError(f"fit requires comm to be a communicator such as bp.world(), got {comm!r}.")
    return cast(Comm, comm)


def _require_over_shards(layer: Layer) -> None:
    """Raise ConfigError for a layer that needs all rows of a batch at once: no process has them all."""
    if getattr(layer, "over", "batch") != "shard":
        kind = type(layer).__name__
        raise ConfigError(
            f"fit with shards requires layers that work on single rows or on the rows of a shard, got {kind}, which works on "
            f"those of a batch. Use {kind}(over='shard'), which is another model, or LayerNorm."
        )


def _require_unshared(network: Network, names: tuple[str, ...]) -> None:
    again = [name for name in network.spread(dict.fromkeys(names)) if name not in names]
    if again:
        raise ConfigError(
            "update='sequential' requires layers with parameters of their own: it updates a layer before the gradient goes "
            f"on, and {again[0]!r} shares those of a layer that it has not reached by then. Use update='simultaneous'."
        )


def _first_state(trainable: Trainable, plan: StepPlan) -> State:
    """Return the state before the first step, in arrays of its own."""
    counter = trainable.backend.asarray(dropout_counter(trainable.seed))
    own, compiled = trainable.arrays(), trainable.compiled(plan.optimizer)
    rule, ops, trained = without_rate(plan.optimizer), compiled.ops, plan.trained

    def slots(params: Arrays) -> Slots:
        return init_slots(rule, ops, params, trained)

    run = slots
    if not is_own(rule):  # whose slots may be arrays of another backend
        key = "slots", identity(rule.rule), trained
        run = compiled.steps.get(key, lambda: compiled.backend.compile(slots))
    with trainable.execution.turn():
        return {**own, "slots": run(own["params"]), "counter": counter}


def _finite_test(trainable: Trainable) -> Callable[[Any], bool]:
    """Return a function that tests whether all parameters and statistics are finite."""
    backend = trainable.backend
    steps = trainable.steps if trainable.shared is None else trainable.shared.steps
    test = steps.get("all finite", lambda: backend.compile(partial(all_finite, backend.xp)))
    turn = trainable.execution.turn

    def finite(state: State) -> bool:
        with turn():
            return bool(backend.to_numpy(test({**state["params"], **state["running"]})))

    return finite


def choose(
    names: Mapping[str, str], only: str | Sequence[str] | None, freeze: str | Sequence[str], running: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the parameters to train, and the parameters and running statistics that match a pattern of `freeze`.

    All parameters are trained, or those that match `only` ("*.bias" matches every bias), without those that match `freeze`.
    Raises ConfigError with the nearest names for one that does not exist, and when no parameter is left to train.
    """
    require_some("fit", tuple(names))
    wanted = tuple(dict.fromkeys(names.values())) if only is None else select("fit", "only", only, names)
    if not wanted:
        raise ConfigError("fit requires at least one parameter to train, got only=[]. Leave `only` out to train all.")
    frozen = select("fit", "freeze", freeze, {**names, **{name: name for name in running}})
    trained = tuple(name for name in wanted if name not in frozen)
    if not trained:
        raise ConfigError(
            f"fit requires at least one parameter to train, got freeze={freeze!r}, which leaves none. Freeze fewer."
        )
    return trained, frozen


def frozen_layers(running: tuple[str, ...], stay: tuple[str, ...]) -> frozenset[str]:
    """Return the places of the layers whose running statistics are frozen: all of a layer's, or none of them.

    Raises ConfigError for a layer of which only some are frozen.
    """
    places = {name.rpartition(".")[0] for name in running if name in stay}
    left = [name for name in running if name.rpartition(".")[0] in places and name not in stay]
    if left:
        place = left[0].rpartition(".")[0]
        raise ConfigError(
            f"fit requires freeze to name all running statistics of a layer or none, got all but {left[0]!r}. "
            f"Freeze the layer: freeze='{place}.*'."
        )
    return frozenset(places)
