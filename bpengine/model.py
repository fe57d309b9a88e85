"""Model: a network with parameters on a backend, the main public class. It takes and returns NumPy arrays on every backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bpengine import data
from bpengine.backend import ArrayLike, Backend, HostArray, State, get_backend
from bpengine.distributed.comm import Comm
from bpengine.errors import ConfigError, ModelFileError, ShapeError, flag, unknown, whole
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.kernels._kernel import Array
from bpengine.layers import Layer, Shapes
from bpengine.layers.layer import HostArrays
from bpengine.network import Network
from bpengine.output.rich_form import RichForm, title
from bpengine.streams import derived, dropout_counter
from bpengine.system.lru_cache import LruCache
from bpengine.system.quiet import error_settings_kept
from bpengine.training.callbacks import Callback, reads_epochs_alone
from bpengine.training.checkpoints.run_folder import RunFolder
from bpengine.training.evaluation import Evaluator
from bpengine.training.fit import FitSettings, Trainable
from bpengine.training.history import Epoch, History
from bpengine.training.joint.fit_execution import FitExecution, SingleExecution
from bpengine.training.loop import OnEpoch
from bpengine.training.memory.run_state import RunState
from bpengine.training.memory.snapshots import Rollback
from bpengine.training.memory.spill import SpillStore
from bpengine.training.metrics.choice import Asked, choose_metrics
from bpengine.training.optimizers import Optimizer, is_own, make_optimizer
from bpengine.training.reuse import compiled_network
from bpengine.training.rows import (
    Rows,
    classes_of,
    decoder_of,
    encoded_inputs,
    encoded_rows,
    encoded_validation,
    evaluated_names,
    held,
    model_rows,
    own_features,
    require_fit,
    unit_of,
)
from bpengine.training.selection import known, require_some, select
from bpengine.training.stopping import Rule
from bpengine.training.updates.update import Applied, apply

if TYPE_CHECKING:
    from bpengine import io
    from bpengine.check import Report
    from bpengine.derivatives import Eigenvalue
    from bpengine.explain.trace.trace import Trace
    from bpengine.explain.units.explanation import Explanation
    from bpengine.summary import Summary


_OF_THE_PROCESS = ("_shared", "_ops", "_evaluator", "_steps")  # what `Model._bind` creates


class Model(RichForm):
    """A network with parameters.

    backend: "numpy", "jax", "cupy", or a Backend. dtype: "float32" or "float64". precision: how matrices are multiplied,
    where that differs from dtype ("tf32", "bfloat16"). seed: draws the initial weights, shuffles and dropout masks, the
    same on every backend. Raises ConfigError or BackendUnavailable.

    features: a fitted `bp.Features`. Every method then takes rows of a table (data frames, columns by name), and targets by
    name or in their own unit. It may be set later as well, and a model file keeps it.
    `class_names` may be set to the names of the classes; a model file keeps them.

    A model can be pickled and copied (`copy.deepcopy`) to other processes; compiled functions are not copied. `continue_from`
    then gives the same bits as in the original process. A pickle runs code when it is read: store models with `save`.

    >>> model = bp.Model(bp.Network(2, [bp.Dense(2, "tanh"), bp.Dense(1)], "mean_squared_error"), seed=1)
    >>> history = model.fit([[0.0, 1.0], [1.0, 0.0]], [[1.0], [0.0]], steps=10)
    >>> model.predict([[0.0, 1.0]]).shape
    (1, 1)
    """

    def __init__(
        self,
        network: Network,
        backend: str | Backend = "numpy",
        dtype: str = "float32",
        seed: int = 0,
        *,
        precision: str | None = None,
        device: str | None = None,
        features: data.Features | None = None,
    ) -> None:
        if not isinstance(network, Network):
            raise ConfigError(f"Model requires a bp.Network, got {network!r}.")
        seed = whole(seed, "Model", "seed", low=0)
        if dtype not in ("float32", "float64"):
            raise unknown("dtype", dtype, ("float32", "float64"))
        chosen = get_backend(backend, precision=precision or dtype, device=device)
        if chosen.dtype != dtype:
            raise ConfigError(f"dtype {dtype!r} and precision {precision!r} contradict each other. Give one of them.")
        params, running = (
            {n: held(f"parameter {n!r}", a, dtype) for n, a in arrays.items()} for arrays in network.init(seed)
        )
        self._start(network, chosen, seed, params, running)
        self.features = features

    def _start(self, network: Network, backend: Backend, seed: int, params: HostArrays, running: HostArrays) -> None:
        self.network, self.backend, self.seed = network, backend, seed
        self.fits = 0  # fits so far: each has its own shuffles and dropout masks
        self._class_names: tuple[data.ClassName, ...] | None = None
        self._features: data.Features | None = None
        self._bind()
        self._params, self._running = self._bring(params), self._bring(running)
        self._applied: Applied | None = None  # the state that apply_gradients continues from
        self._version = _new_version()  # replaced whenever parameters or statistics change
        self._names = tuple(params), tuple(running)

    def _bind(self) -> None:
        """Create what belongs to this process: kernels bound to the backend, and compiled functions."""
        self._shared = compiled_network(self.network, self.backend)
        self._ops = self._shared.ops
        unit, decode = unit_of(self._features), decoder_of(self._features)
        self._evaluator = Evaluator(
            self._shared.network, self.backend, self._ops, compiled=self._shared.functions, unit=unit, decode=decode
        )
        self._steps = LruCache[Any]()  # with a custom update rule

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a pickle or a deep copy: all but what belongs to this process, with arrays on the host."""
        own = {name: value for name, value in vars(self).items() if name not in _OF_THE_PROCESS}
        return {**own, "_params": self.parameters, "_running": self.running}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore such a state on the backend that it names."""
        vars(self).update(state)
        self._bind()
        self._params, self._running = self._bring(state["_params"]), self._bring(state["_running"])
        if self._applied is not None:
            self._applied = self._applied.on(self.backend)

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.network.sizes))
        size = sum(p.size for p in self._params.values())
        return f"Model({shape}, {self.network.loss.name}, {count_of(size, 'parameter')}, {self.backend!r}, seed={self.seed})"

    def summary(self, batch_size: int = 32) -> Summary:
        """Return layers, shapes, parameters, operations and memory of a training step on `batch_size` rows.

        Operations are those of the kernels, an elementary function counted as one, without the loss and the update rule.
        Memory is that of the parameters and of what the forward pass keeps for the backward pass, in the model's dtype.
        Raises ConfigError for a batch that is smaller than a layer needs: 2 rows with BatchNorm.

        >>> print(bp.Model(bp.Network(4, [bp.Dense(3, "relu"), bp.Dense(2)], "softmax_cross_entropy")).summary(8))
        Network 4-3-2, softmax_cross_entropy: 23 parameters, float32
        layer         kind  output  parameters  forward flops  backward flops   kept
            0  Dense, relu  (8, 3)          15            240             264   96 B
            1        Dense  (8, 2)           8            112             208   96 B
        total                               23            352             472  192 B
        A step on 8 rows: 824 operations forward and back; parameters 92 B, gradients 92 B, kept for the backward pass 192 B.
        """
        return self.network.summary(batch_size, self.dtype)

    def _html_parts(self) -> list[str]:
        return [title(localized(repr(self))), *list(self.summary()._html_parts())[1:]]

    @property
    def class_names(self) -> tuple[data.ClassName, ...] | None:
        """The names of the classes in the order of their numbers: one for each output, two for a single binary output.

        May be set to any sequence of text, whole numbers, numbers or truth values, also an array or a column of a table;
        each name keeps its type, also in a model file. Raises ConfigError for another number of names, for equal names, and
        for values of other types.

        >>> model = bp.Model(bp.Network(2, bp.Dense(2), "softmax_cross_entropy"))
        >>> model.class_names = ["no", "yes"]
        >>> model.class_names
        ('no', 'yes')
        """
        return self._class_names

    @class_names.setter
    def class_names(self, names: object) -> None:
        self._class_names = data.check_class_names(names, classes_of(self.network))

    @property
    def features(self) -> data.Features | None:
        """The Features that encode the columns of a table; None where the model takes numbers.

        May be set to fitted Features, which name the classes as well. Raises ShapeError or ConfigError when the network's
        inputs and outputs do not match theirs.

        >>> print(bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error")).features)
        None
        """
        return self._features

    @features.setter
    def features(self, features: data.Features | None) -> None:
        if features is not None:
            require_fit(self.network, features)
        self._features = features
        self._evaluator = replace(self._evaluator, unit=unit_of(features), decode=decoder_of(features))
        if features is not None and features.classes is not None:
            self.class_names = features.classes

    @property
    def dtype(self) -> str:
        """The dtype of parameters and results.

        >>> bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"), dtype="float64").dtype
        'float64'
        """
        return self.backend.dtype

    @property
    def parameters(self) -> HostArrays:
        """Copies of all parameters: {"0.weight": (inputs, units), "0.bias": (units,), ...}.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
        >>> model.parameters = {"0.weight": [[2.0]], "0.bias": [1.0]}
        >>> model.predict([[3.0]])
        array([[7.]], dtype=float32)
        """
        return self._fetch(self._params)

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        """Replace the named parameters.

        Raises ConfigError for an unknown name, ShapeError for a wrong shape, DataError for values that are not numbers, not
        finite, or out of range for the model's dtype; the model is then unchanged.
        """
        self._params, self._version = {**self._params, **self._bring(self._named("parameter", values))}, _new_version()

    @property
    def running(self) -> HostArrays:
        """Copies of the running statistics of BatchNorm layers; empty without any.

        >>> model = bp.Model(bp.Network(1, [bp.Dense(1), bp.BatchNorm()], "mean_squared_error"))
        >>> {name: value.tolist() for name, value in model.running.items()}
        {'1.mean': [0.0], '1.variance': [1.0]}
        """
        return self._fetch(self._running)

    def forward(self, x: ArrayLike) -> HostArray:
        """Return the raw outputs (rows, outputs) for x (rows, inputs), outside training.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "sigmoid_cross_entropy"))
        >>> model.forward([[3.0]])
        array([[6.]], dtype=float32)
        """
        return self._evaluator.outputs(self._params, self._running, self._inputs(x), link=False)

    def predict(self, x: ArrayLike) -> HostArray:
        """Return the outputs after the loss's link function (rows, outputs): probabilities for a loss on logits.

        With Features, values are in the targets' own unit.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[0.0]]), "sigmoid_cross_entropy"))
        >>> model.predict([[3.0]])
        array([[0.5]], dtype=float32)
        """
        outputs = self._evaluator.outputs(self._params, self._running, self._inputs(x), link=True)
        return self.features.decode(outputs) if self.features is not None else outputs

    def evaluate(
        self,
        x: ArrayLike,
        y: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        metrics: Asked | Sequence[Asked] | None = (),
    ) -> dict[str, Any]:
        """Return {"loss": ..., "accuracy": ...} outside training; "rmse" in place of accuracy for targets that are values.

        The loss is the training loss, penalties included, over all rows. Weights apply to every number: a weight of 0 leaves a
        row out, 2 counts it twice. With Features that standardise the targets, the loss is that of standardised targets,
        "rmse" is in their own unit, and "rmse_standardised" on the scale of the loss.

        metrics: further scores by name; functions of scikit-learn compute them (extra `sklearn`).
            Classes: "precision", "recall", "f1": of the second of two classes, otherwise the mean over the classes (macro); an
            ending _macro, _weighted or _micro chooses the average. "balanced_accuracy". "roc_auc": the area under the curve,
            for more than two classes the mean of each against the rest; "roc_auc_weighted". "log_loss". "top_3", "top_5" ...:
            the share of rows whose class is among the three (five ...) most likely. "confusion_matrix": a list of lists, one
            for each true class. For soft labels, the most likely class counts.
            Values, in the targets' own unit: "r2", "mae".
            Or a custom function (y_true, prediction) -> number, under its name; see `bp.Metric`.
        Raises ShapeError or DataError for x, y and weights; ConfigError for an unknown metric, or one of another kind of task;
        DataError where a metric is not defined on the rows, such as an area under the curve without rows of a class.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error"))
        >>> model.evaluate([[3.0]], [[5.0]])
        {'loss': 1.0, 'rmse': 1.0}
        >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "sigmoid_cross_entropy"))
        >>> scores = model.evaluate([[1.0], [2.0], [-1.0]], [1, 0, 0], metrics=["f1", "roc_auc", "confusion_matrix"])
        >>> round(scores["f1"], 3), scores["roc_auc"], scores["confusion_matrix"]
        (0.667, 0.5, [[1, 1], [0, 1]])
        """
        chosen = choose_metrics(metrics, self.network, evaluated_names(self.network, self._evaluator.unit))
        rows = model_rows(self, x, y, weights)
        self._evaluator.require_scorable(chosen, rows)
        return self._evaluator.evaluate(self._params, self._running, rows, metrics=chosen)

    def _inputs(self, x: ArrayLike) -> HostArray:
        """Return the network's inputs for x, checked."""
        return data.check_features(encoded_inputs(self.features, x, self.dtype), self.network.inputs, dtype=self.dtype)

    def loss_and_gradients(
        self, x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None, *, training: bool = True
    ) -> tuple[float, HostArrays]:
        """Return the loss over all rows and its gradient for every parameter, named and shaped like `parameters`.

        With `training`, dropout masks are those of the first step and BatchNorm uses the statistics of these rows.
        Raises: ShapeError or DataError naming what is wrong with the rows; ConfigError for a `training` that is not True or
        False.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error"))
        >>> loss, gradients = model.loss_and_gradients([[3.0]], [[5.0]])
        >>> loss, gradients["0.weight"].item()
        (1.0, 6.0)
        """
        rows = model_rows(self, x, y, weights)
        training = flag(training, "loss_and_gradients", "training")
        counter = self.backend.asarray(dropout_counter(self.seed))
        loss, gradients = self._evaluator.gradients(self._params, self._running, counter, rows, training=training)
        return float(self.backend.to_numpy(loss)), self._fetch(gradients)

    def check(
        self,
        x: ArrayLike,
        y: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        seed: int = 0,
        oracles: str | Sequence[str] | None = None,
        perturbed: bool = True,
    ) -> Report:
        """Check the hand-written gradients at these rows with independent oracles: `bp.check_gradients(model, x, y)`.

        Return the Report: `passed`, `findings()` in words, `str()` as a table, `to_dict()` for JSON, `raise_if_failed()`.
        seed: draws sampled elements and directions. oracles: some of "autodiff", "differences", "complex step", "inner
        products"; all by default. perturbed: check at a perturbed point as well, away from 0, 1 and equal numbers. The model
        is left unchanged.

        >>> model = bp.Model(bp.Network(2, [bp.Dense(2, "tanh"), bp.Dense(1)], "mean_squared_error"))
        >>> model.check([[0.5, -1.0]], [[1.0]]).passed
        True
        """
        from bpengine.check import check_gradients
        from bpengine.check.oracles.run import NAMES

        chosen = NAMES if oracles is None else oracles
        return check_gradients(self, x, y, weights, seed=seed, oracles=chosen, perturbed=perturbed)

    def trace(
        self, x: ArrayLike, y: ArrayLike | None, weights: ArrayLike | None = None, *, optimizer: str | Optimizer = "sgd"
    ) -> Trace:
        """Run the first training step of `optimizer` on all rows and return everything that happens in it.

        A `bpengine.explain.Trace`: every kernel call with its arguments and results, and for each layer z, a, dL/da, dL/dz and
        the gradients of its parameters. The model is left unchanged.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error"))
        >>> [call.function for call in model.trace([[3.0]], [[5.0]]).calls][:2]
        ['dense_fwd', 'identity_fwd']
        """
        from bpengine.explain.trace.steps import trace_steps

        return next(trace_steps(self, x, y, weights, optimizer=optimizer, steps=1))

    def explain(self, x: ArrayLike, y: ArrayLike, *, layer: int | str, unit: int, **settings: Any) -> Explanation:
        """Explain the gradient of one unit term by term: `bp.explain(model, x, y, layer=..., unit=...)`.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error"), dtype="float64")
        >>> model.explain([[3.0]], [[5.0]], layer=0, unit=0).z
        array([6.])
        """
        from bpengine.explain.units.explain import explain

        return explain(self, x, y, layer=layer, unit=unit, **settings)

    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        optimizer: str | Optimizer = "adam",
        batch_size: int | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        weights: ArrayLike | None = None,
        validation: Sequence[Any] | None = None,
        metrics: Asked | Sequence[Asked] | None = (),
        only: str | Sequence[str] | None = None,
        update: str = "simultaneous",
        clip_norm: float | None = None,
        stop: Rule | Sequence[Rule] | None = (),
        shuffle: bool = True,
        callbacks: Callback | Sequence[Callback] | None = (),
        progress: bool = False,
        track_step_size: bool | None = None,
        freeze: str | Sequence[str] = (),
        accumulate: int = 1,
        run: RunFolder | str | os.PathLike[str] | None = None,
        resume: bool = False,
        continue_from: History | None = None,
        shards: int | None = None,
        comm: Comm | None = None,
    ) -> History:
        """Train on x (rows, inputs) and y until `epochs`, `steps` or a rule of `stop` is reached; return the History.

        batch_size: rows per step; None is the full batch, 1 is online descent. The rows left over at the end of an epoch
        make a smaller step; with BatchNorm a single row joins the step before it, since one row has no variance.
        weights: one per row: 0 leaves a row out, 2 counts it twice, also in the statistics of BatchNorm.
        validation: (x, y) or (x, y, weights), evaluated after each epoch.
        metrics: further scores of the validation rows, recorded after each epoch: those of `evaluate`. A rule may watch one:
            stop=bp.NoImprovement(10, monitor="f1").
        only: names of the parameters to train ("1.bias", "*.weight"); all others are frozen, running statistics are not.
        freeze: names of parameters and of running statistics that stay as they are. freeze="1.*" freezes all of a BatchNorm
            layer: gamma, beta, mean and variance; it then normalises by its statistics, as outside training.
        update: "simultaneous", or "sequential": each layer is updated before the gradient is taken through it.
        accumulate: batches per update. k batches are run one after another, and their gradients are added to those of one
        batch k times as large, of which only `batch_size` rows are in memory at a time. Training is the same up to
        rounding. (BatchNorm normalises each of the k by its own statistics, dropout draws a mask for each.)
        clip_norm: largest norm of all gradients together. shuffle: a new order each epoch, a function of (seed, epoch).
        callbacks: called with (model, epoch) after each epoch; a true result stops the fit. Training continues with the
        parameters that a callback sets on the model (an average, a limited norm).
        track_step_size: record the largest change of any parameter at each step; by default when a step is an epoch.
        run: a bp.RunFolder, or the path of one: checkpoints are written there, from which a killed fit can continue with the
        same numbers to the last bit. SIGTERM, SIGUSR1 and Ctrl-C then end the fit after the step: it writes a checkpoint
        and raises RunInterrupted.
        resume: continue from the newest whole checkpoint in `run`, or start where there is none. A fit that has ended is
        returned at once, unless `epochs` or `steps` ended it and is higher now: then it continues. A checkpoint of
        another network, data, batch, seed or rule is refused.
        continue_from: the History of a fit to continue, with the optimizer's moments, the step number of schedules and
        dropout, and the order of rows. `epochs` and `steps` count from there, the returned History holds both fits, and 5
        epochs and 5 more give the same bits as 10. The data may be different.
        shards: the number of parts into which each batch is cut; their losses and gradients are added in one fixed order.
        The results then have the same bits for every number of processes; they depend on the number of shards.
        comm: the processes that train together, `bp.world()`; each computes some of the shards. All of them call `fit` with
            the same data and settings. Callbacks run on process 0 alone.

        However a fit ends (a limit, a rule, a callback, an exception of a callback or Ctrl-C), the model has the state of its
        last step, or of its best epoch where a rule restores that, and NumPy's error settings (`np.seterr`) are those of
        before the fit.
        Raises ShapeError, DataError or ConfigError before anything is changed, and NonFiniteError when the loss or a
        parameter is not finite: the model then keeps its last good parameters. Raises WriteError for a checkpoint that cannot
        be written.
        """
        with error_settings_kept():
            features = self.features if self.features is not None else own_features(self.network, x, y)
            fit = FitSettings(
                optimizer=optimizer, batch_size=batch_size, epochs=epochs, steps=steps, only=only, update=update,
                validation=encoded_validation(features, validation, self.dtype), clip_norm=clip_norm, stop=stop,
                callbacks=callbacks, progress=progress, track_step_size=track_step_size, freeze=freeze, shuffle=shuffle,
                metrics=metrics, run=run, resume=resume, continue_from=continue_from, shards=shards, comm=comm,
                accumulate=accumulate,
            )  # fmt: skip
            encoded = encoded_rows(features, x, y, self.dtype)
            rows = fit.rows(self.network, (*encoded, weights), self.dtype)
            if features is not self.features:
                self.features = features
            return self._train(fit, rows)

    def _train(self, fit: FitSettings, rows: Rows, execution: FitExecution | None = None) -> History:
        """Train on checked rows, alone or beside other fits: the part of `fit` after its arguments are checked."""
        continue_from = fit.continue_from
        with SpillStore(self.backend) as store:
            own = Rollback(self.backend, store, {"params": self._params, "running": self._running})
            trainer = fit.trainer(self._subject(own.arrays, execution or SingleExecution()), rows, self._on_epoch(fit))
            before = max(self.fits - (continue_from is not None), 0)  # a continued fit counts once
            try:
                if own.moved:
                    self._params, self._running = {}, {}
                with fit.bar() as progress_bar:
                    state, history = trainer.run(progress_bar)
                self._adopt(state)
                self.fits = before + 1
                history.end = self._end(history, state)
            except BaseException:
                self.fits = before + (trainer.recorder.steps > 0)
                if left := trainer.left():
                    self._adopt(left)
                elif not self._params:
                    self._adopt(own.returned())
                raise
        return history

    def apply_gradients(
        self, gradients: Mapping[str, Any], *, optimizer: str | Optimizer = "adam", clip_norm: float | None = None
    ) -> None:
        """Update parameters by given gradients: one step of a custom training loop.

        gradients: {name: array}, named and shaped like `parameters`, as `loss_and_gradients` returns them; parameters
            without one stay. clip_norm: largest norm of all of them together.
        optimizer: its moments and its number of updates are kept from call to call, also when the learning rate changes;
        they are reset by another rule and by a `fit`.

        Raises ConfigError for an unknown name, ShapeError for a wrong shape, DataError for gradients that are not finite,
        NonFiniteError when the new parameters would not be finite; the model is then unchanged.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error"), dtype="float64")
        >>> loss, gradients = model.loss_and_gradients([[3.0]], [[5.0]])
        >>> model.apply_gradients(gradients, optimizer=bp.SGD(0.1))
        >>> model.parameters["0.weight"].round(6)
        array([[1.4]])
        """
        arrays = self._bring(self._named("gradient of parameter", gradients))
        rule = make_optimizer(optimizer)
        changed, self._applied = apply(
            self.backend, self._ops, self._params, arrays, rule, clip_norm, before=self._applied,
            compiled=self._steps if is_own(rule) else self._shared.steps,
        )  # fmt: skip
        self._params, self._version = {**self._params, **changed}, _new_version()

    def _subject(self, arrays: Callable[[], State], execution: FitExecution) -> Trainable:
        seed = derived("later fit", self.seed, self.fits) if self.fits else self.seed
        return Trainable(
            network=self.network, backend=self.backend, ops=self._ops, names=tuple(self._params),
            running=tuple(self._running), arrays=arrays, seed=seed, evaluator=self._evaluator, steps=self._steps,
            shared=self._shared, shapes=_shapes(self._params), fits=self.fits, settings=self._settings(),
            untouched=lambda end: end.left == self._version, execution=execution,
        )  # fmt: skip

    def _on_epoch(self, fit: FitSettings) -> OnEpoch:
        watchers = [callback for callback in fit.called if reads_epochs_alone(callback)]
        others = [callback for callback in fit.called if not reads_epochs_alone(callback)]

        def show(state: State) -> None:
            self._adopt(self.backend.copy({kind: state[kind] for kind in ("params", "running")}))

        def watch(state: State, epochs: Sequence[Epoch]) -> None:
            try:
                for watcher in watchers:
                    for epoch in epochs:
                        watcher(self, epoch)
            except BaseException:
                show(state)  # if a callback raises, the model keeps the state of the epoch
                raise

        def on_epoch(state: State, epochs: Sequence[Epoch]) -> tuple[bool, State]:
            watch(state, epochs)
            if not others:
                return False, state
            show(state)
            shown = self._params, self._running
            verdicts = [bool(callback(self, epoch)) for epoch in epochs for callback in others]
            own = {"params": self._params, "running": self._running}
            changed = any(own[kind][n] is not a for kind, a_s in zip(own, shown, strict=True) for n, a in a_s.items())
            return any(verdicts), {**state, **self.backend.copy(own)} if changed else state

        return on_epoch

    def to(self, backend: str | Backend, *, device: str | None = None) -> Model:
        """Return a copy of this model on another backend, with the same dtype and parameters.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
        >>> model.to("numpy").backend.name
        'numpy'
        """
        chosen = get_backend(backend, precision=self.dtype, device=device)
        settings = self._settings()
        model = Model._restored(self.network, chosen, settings, self.parameters, self.running)
        model.features = self.features
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, parameters and running statistics to a safetensors file, completely or not at all.

        >>> from tempfile import TemporaryDirectory
        >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
        >>> with TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.safetensors")
        ...     names = sorted(bp.load(f"{folder}/model.safetensors").parameters)
        >>> names
        ['0.bias', '0.weight']
        """
        from bpengine import io  # not at the top: no fit needs it

        described = io.describe(self.network)
        io.write(path, io.Contents(described, self._settings(), self.parameters, self.running, self.network.layers))

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write `predict` as an ONNX file for programs without bpengine, completely or not at all.

        The file has the network outside training, the loss's link function and the Features; parameters keep their names.
        This needs the extra `onnx`.

        Inputs, of any number of rows: "x" (rows, inputs) of the model's dtype. With Features, one input (rows, 1) for each
        used column, by its name: float64 for numbers (NaN where missing) and for dates (days since 1970); text for categories
        ("" where missing) and for truth values that were text. Columns without names are one input "x".
        Outputs: for values "prediction" (rows, outputs), in their own unit; for classes "probabilities", as `predict` returns
        them, and "label" (rows,): the class as text, or an int64 number where classes have no names. With Features, a row that
        `predict` refuses (infinity, a missing number without a rule) gives NaN. The label of NaN is "" or -1.
        Raises ConfigError for a layer without an ONNX form, naming it, and for more than 2 GiB of numbers; WriteError when the
        file cannot be written.

        >>> from tempfile import TemporaryDirectory
        >>> import onnxruntime
        >>> model = bp.Model(bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(2)], "softmax_cross_entropy"))
        >>> model.class_names = ["no", "yes"]
        >>> x = np.array([[1.0, -1.0]], np.float32)
        >>> with TemporaryDirectory() as folder:
        ...     model.export_onnx(f"{folder}/model.onnx")
        ...     served = onnxruntime.InferenceSession(f"{folder}/model.onnx")
        >>> label, probabilities = served.run(None, {"x": x})
        >>> bool(abs(probabilities - model.predict(x)).max() < 1e-6)
        True

        Source: ONNX, "Open neural network exchange", operator sets ai.onnx 17 and ai.onnx.ml 3.
        """
        from bpengine.onnx import write_onnx

        write_onnx(path, self)

    def load_parameters(self, path: str | os.PathLike[str]) -> None:
        """Replace the parameters by those of a file of the same network.

        Raises ModelFileError, naming the first difference, when the file is of another network; the model is then unchanged.

        >>> from tempfile import TemporaryDirectory
        >>> network = bp.Network(1, bp.Dense(1), "mean_squared_error")
        >>> model, other = bp.Model(network, seed=0), bp.Model(network, seed=1)
        >>> with TemporaryDirectory() as folder:
        ...     other.save(f"{folder}/model.safetensors")
        ...     model.load_parameters(f"{folder}/model.safetensors")
        >>> bool((model.parameters["0.weight"] == other.parameters["0.weight"]).all())
        True
        """
        from bpengine import io

        with io.opened(path) as file:
            if different := io.difference(io.describe(self.network), file.network):
                raise ModelFileError(f"the model file {str(path)!r} is of another network. {io.one_line(different)}.")
            _names_of(file, self.network)
            wanted = Shapes(_shapes(self._params), _shapes(self._running))
            arrays = file.arrays(wanted, self.network.layers)
        with file.judged("has numbers that this model cannot take over"):
            params, running = ({n: held(repr(n), a, self.dtype) for n, a in part.items()} for part in arrays)
        brought = self._bring(params), self._bring(running)
        self._params, self._running = brought  # both are replaced, or neither where memory is short
        self._version = _new_version()

    @classmethod
    def _restored(
        cls, network: Network, backend: Backend, settings: dict[str, Any], params: HostArrays, running: HostArrays
    ) -> Model:
        """Return a model with given arrays; nothing is drawn, since a model file may not hold the initial values."""
        model = cls.__new__(cls)
        model._start(network, backend, settings["seed"], params, running)
        model.fits, names = settings["fits"], settings.get("class_names")
        model._class_names = tuple(names) if names else None
        return model

    def _settings(self) -> dict[str, Any]:
        names = list(self.class_names) if self.class_names else None
        settings = {"dtype": self.dtype, "seed": self.seed, "fits": self.fits, "class_names": names}
        return settings if self.features is None else {**settings, "features": self.features.to_json()}

    def _named(self, what: str, values: Mapping[str, Any]) -> HostArrays:
        """Return arrays by parameter name, each with its parameter's shape and finite numbers in the model's dtype."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"a {what} requires its name: {{'0.weight': ...}}, got {type(values).__name__}.")
        arrays: HostArrays = {}
        for name, value in known(f"a {what}", values, self.network.names(self._params)).items():
            arrays[name] = held(f"{what} {name!r}", value, self.dtype)
            if arrays[name].shape != tuple(self._params[name].shape):
                wanted = tuple(self._params[name].shape)
                raise ShapeError(f"{what} {name!r} requires the shape {wanted}, got {arrays[name].shape}.")
        return arrays

    def _bring(self, arrays: HostArrays) -> dict[str, Array]:
        return {name: self.backend.asarray(array, self.dtype) for name, array in arrays.items()}

    def _fetch(self, arrays: Mapping[str, Array]) -> HostArrays:
        return {name: np.array(self.backend.to_numpy(array)) for name, array in arrays.items()}

    def _adopt(self, state: State) -> None:
        names, others = self._names  # JAX sorts the names of a tree
        params = {name: state["params"][name] for name in names}
        running = {name: state["running"][name] for name in others}
        left = None, params, running, _new_version()
        # all arrays are replaced, or none if Ctrl-C comes before this line
        self._applied, self._params, self._running, self._version = left

    def _end(self, history: History, state: State) -> RunState:
        """Return the end of a fit that left `state` in the model, without arrays that a later fit may write into.

        It holds those parts of the last step's state that the model does not have; all of it where a rule restored the best
        epoch.
        """
        end = history.end
        assert end is not None
        names = ("slots", "counter") if state is end.state else tuple(end.state)
        best = replace(end.best, state=self.backend.copy(end.best.state) if end.best.state else None)
        return replace(end, state={name: end.state[name] for name in names}, best=best, left=self._version)

    def per_sample_gradients(
        self, x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None, *, only: str | Sequence[str] | None = None
    ) -> HostArrays:
        """Return the gradient of every row's own loss, outside training: {"0.weight": (rows, inputs, units), ...}.

        Row i's gradient is that of the loss of row i alone. For a loss that averages, their mean over the rows, weighted by
        `weights`, is the gradient over all rows, `loss_and_gradients(x, y, weights, training=False)`; for a loss that sums,
        it is their sum, with each row times its weight. So each row has all of the penalties in the first case and 1 / rows of
        them in the second, with all rows as their number of samples.
        A single row has no batch statistics: BatchNorm uses its running ones, and Dropout does nothing.

        only: names of the wanted parameters ("1.bias", "*.weight"). Layers of the engine compute rows together in batches;
        with a custom layer or loss, rows are computed one by one.
        Raises ShapeError or DataError for x, y or weights; ConfigError for an unknown name, or a network that has no
        parameters or no backward.

        >>> model = bp.Model(bp.Network(1, [bp.Dense(1, weight_init=[[2.0]])], "mean_squared_error"))
        >>> model.per_sample_gradients([[1.0], [3.0]], [1.0, 0.0])["0.weight"].ravel()
        array([ 2., 36.], dtype=float32)

        Source: Goodfellow, "Efficient per-example gradient computations", arXiv:1510.01799, 2015.
        """
        from bpengine.derivatives.per_sample import per_sample_gradients

        require_some("per_sample_gradients", tuple(self._params))
        every = self.network.names(self._params)
        names = tuple(self._params) if only is None else select("per_sample_gradients", "only", only, every)
        rows = model_rows(self, x, y, weights)
        return per_sample_gradients(self._evaluator, self._params, self._running, rows, names)

    def jacobian(self, x: ArrayLike, *, link: bool = False) -> HostArray:
        """Return d output / d input of every row of x (rows, inputs), as (rows, outputs, inputs), outside training.

        The outputs are the raw ones of `forward`; with `link=True` they are the predictions of `predict`.
        Raises ShapeError or DataError for x; ConfigError for a network that has no backward.

        >>> model = bp.Model(bp.Network(2, [bp.Dense(1, weight_init=[[2.0], [-1.0]])], "mean_squared_error"))
        >>> model.jacobian([[5.0, 7.0]])
        array([[[ 2., -1.]]], dtype=float32)
        """
        from bpengine.derivatives.jacobian import jacobian

        x, link = self._inputs(x), flag(link, "jacobian", "link")
        return jacobian(self._evaluator, self._params, self._running, x, link=link)

    def input_gradients(self, x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> HostArray:
        """Return the gradient with respect to x (rows, inputs) of the loss over all rows, outside training.

        It is the gradient of the loss that `evaluate` returns: for a loss that averages, each row has its share of the mean.
        Raises ShapeError or DataError for x, y or weights; ConfigError for a network that has no backward.

        >>> model = bp.Model(bp.Network(1, [bp.Dense(1, weight_init=[[2.0]])], "sum_squared_residuals"))
        >>> model.input_gradients([[1.0], [3.0]], [1.0, 0.0]).ravel()
        array([ 4., 24.], dtype=float32)
        """
        from bpengine.derivatives.jacobian import input_gradients

        rows = model_rows(self, x, y, weights)
        return input_gradients(self._evaluator, self._params, self._running, rows)

    def hvp(self, x: ArrayLike, y: ArrayLike, v: Mapping[str, Any], weights: ArrayLike | None = None) -> HostArrays:
        """Return the product of v with the Hessian of the loss over all rows, outside training: named like `parameters`.

        v: {name: array}, each of the shape of its parameter; v is 0 for a parameter that is not named. The Hessian holds the
        second derivatives of the loss of `evaluate` with respect to all parameters; it is never formed.

        The product is the derivative along v of the hand-written gradient: by forward mode on JAX, in the model's dtype; on
        NumPy by a complex step in float64, without JAX. Both are exact up to rounding, within 1e-6 of the largest element
        in float64 (1e-12 is usual). With a custom layer or loss, NumPy uses finite differences, estimates their error, and
        raises ConfigError where it is above 1e-6. At a kink, such as that of relu at 0, there is no second derivative: the
        product is that of one side.
        Raises ShapeError or DataError for x, y, weights or v; ConfigError for an unknown name in v, or a network that has
        no backward.

        >>> model = bp.Model(bp.Network(1, [bp.Dense(1)], "sum_squared_residuals"))
        >>> model.hvp([[1.0], [3.0]], [1.0, 0.0], {"0.weight": [[1.0]]})
        {'0.weight': array([[20.]], dtype=float32), '0.bias': array([8.], dtype=float32)}

        Source: Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6, 1994.
        """
        from bpengine.derivatives.hessian import check_direction, product

        direction = check_direction(v, self._params, self.network.names(self._params))
        for name, array in direction.items():
            held(f"hvp v[{name!r}]", array, self.dtype)
        rows = model_rows(self, x, y, weights)
        along = product(self._evaluator, self._params, self._running, rows)(direction)
        return {name: along[name].astype(self.dtype) for name in self._params}

    def top_eigenvalue(
        self,
        x: ArrayLike,
        y: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        steps: int = 1000,
        tolerance: float = 1e-4,
        seed: int = 0,
    ) -> Eigenvalue:
        """Return the eigenvalue of largest magnitude of the Hessian that `hvp` multiplies with, with its sign: the sharpness.

        Power iteration, from a vector that `seed` draws, until |H v - value v| is at most `tolerance` times |value| or
        `steps` products have been computed. Returns (value, vector, steps, residual). Check `residual`: the nearest eigenvalue
        is at most this far from `value`; for a simple eigenvalue the error is about its square over the gap to the next one.
        In float32 on JAX a tolerance below 1e-6 cannot be reached.
        Raises what `hvp` raises; ConfigError for a network without parameters, NonFiniteError where H v is not finite.

        >>> model = bp.Model(bp.Network(1, [bp.Dense(1, bias=False)], "sum_squared_residuals"))
        >>> model.top_eigenvalue([[1.0], [3.0]], [1.0, 0.0]).value
        20.0

        Source: von Mises, Pollaczek-Geiringer, "Praktische Verfahren der Gleichungsaufloesung", ZAMM 9, 1929.
        """
        from bpengine.derivatives.hessian import product
        from bpengine.derivatives.power import top_eigenvalue

        require_some("top_eigenvalue", tuple(self._params))
        rows = model_rows(self, x, y, weights)
        times = product(self._evaluator, self._params, self._running, rows)
        shapes = {name: tuple(array.shape) for name, array in self._params.items()}
        return top_eigenvalue(times, shapes, steps, tolerance, seed)


def load(
    path: str | os.PathLike[str],
    backend: str | Backend = "numpy",
    *,
    layers: Mapping[str, type[Layer]] | None = None,
    losses: Mapping[str, Any] | None = None,
    activations: Mapping[str, Any] | None = None,
) -> Model:
    """Return the model of a file, on any backend. No code from the file is run.

    A file holds custom code by name only. layers: classes of layers by name. losses, activations: by name, each a
    CustomLoss or CustomActivation, or its pair of functions (forward, backward).
    Raises ModelFileError when the file is missing, corrupt, truncated, or uses unknown names; ConfigError for layers, losses
    or activations of another form.

    >>> from tempfile import TemporaryDirectory
    >>> model = bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"))
    >>> with TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.safetensors")
    ...     again = bp.load(f"{folder}/model.safetensors")
    >>> bool((again.predict([[1.0, 2.0]]) == model.predict([[1.0, 2.0]])).all())
    True
    """
    from bpengine import io

    own = io.own_code(layers, losses, activations)
    with io.opened(path) as file:
        network, shapes = file.build(own)
        names = _names_of(file, network)
        params, running = file.arrays(shapes, network.layers)
    chosen = get_backend(backend, precision=file.settings["dtype"])
    model = Model._restored(network, chosen, {**file.settings, "class_names": names}, params, running)
    if (features := file.settings.get("features")) is not None:
        with file.judged("has features that do not fit"):
            model.features = data.Features.from_json(features)
    return model


def _names_of(file: io.ModelFile, network: Network) -> Sequence[data.ClassName] | None:
    """Return the names of the classes; raise ModelFileError unless there is one for each class and all differ."""
    with file.judged("has class names that do not fit"):
        return data.check_class_names(file.settings.get("class_names"), classes_of(network))


def _shapes(arrays: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in arrays.items()}


__all__ = ["Model", "load"]


def _new_version() -> bytes:
    """Return a token that identifies the parameters of a model, and of its copies, until they change."""
    return os.urandom(16)
