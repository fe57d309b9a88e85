"""Model: a network with parameters on a backend. The public face of the engine; it speaks NumPy on every backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bpengine import data, io
from bpengine.backend import Backend, HostArray, State, Step, get_backend
from bpengine.errors import BpError, ConfigError, ModelFileError, NonFiniteError, ShapeError, unknown
from bpengine.kernels._kernel import Array
from bpengine.layers import Layer, initializers
from bpengine.layers.layer import HostArrays
from bpengine.network import Network
from bpengine.training.callbacks import Callback
from bpengine.training.evaluation import Evaluator
from bpengine.training.fit import Fit, Subject
from bpengine.training.history import Epoch, History
from bpengine.training.inputs import check_rows
from bpengine.training.loan import Loan
from bpengine.training.optimizers import Optimizer
from bpengine.training.shelf import Shelf
from bpengine.training.stopping import Rule

if TYPE_CHECKING:
    from bpengine.check import Report
    from bpengine.explain.explanation import Explanation
    from bpengine.explain.trace import Trace


class Model:
    """A network with parameters.

    backend: "numpy", "jax", "cupy", or a Backend. dtype: "float32" or "float64". precision: how matrices are multiplied,
    where that differs from dtype ("tf32", "bfloat16"). seed: draws the initial weights, shuffles and dropout masks, the
    same on every backend. Raises ConfigError or BackendUnavailable.

    `class_names` may be set to the names of the classes, in the order of their numbers; a model file keeps them.
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
    ) -> None:
        if not isinstance(network, Network):
            raise ConfigError(f"Model requires a bp.Network, got {network!r}.")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ConfigError(f"Model requires seed to be a whole number of at least 0, got {seed!r}.")
        if dtype not in ("float32", "float64"):
            raise unknown("dtype", dtype, ("float32", "float64"))
        made = get_backend(backend, precision=precision or dtype, device=device)
        if made.dtype != dtype:
            raise ConfigError(f"dtype {dtype!r} and precision {precision!r} contradict each other. Give one of them.")
        self._start(network, made, int(seed), *network.init(int(seed)))

    def _start(self, network: Network, backend: Backend, seed: int, params: HostArrays, running: HostArrays) -> None:
        self.network, self.backend, self.seed = network, backend, seed
        self.fits = 0  # fits so far: each shuffles and drops in its own way
        self.class_names: tuple[str, ...] | None = None
        self._ops = backend.ops()
        self._evaluator = Evaluator(network, backend, self._ops)
        self._steps: dict[Any, Step] = {}
        self._params, self._running = self._bring(params), self._bring(running)
        self._names = tuple(params), tuple(running)

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.network.sizes))
        size = sum(p.size for p in self._params.values())
        return f"Model({shape}, {self.network.loss.name}, {size} parameters, {self.backend!r}, seed={self.seed})"

    @property
    def dtype(self) -> str:
        """The dtype of parameters and results."""
        return self.backend.dtype

    @property
    def parameters(self) -> HostArrays:
        """Copies of all parameters: {"0.weight": (inputs, units), "0.bias": (units,), ...}."""
        return self._fetch(self._params)

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        """Replace the named parameters; raise ConfigError for an unknown name, ShapeError for a wrong shape."""
        new: HostArrays = {}
        for name, value in values.items():
            if name not in self._params:
                raise unknown("parameter", name, self._params)
            new[name] = np.asarray(value, dtype=self.dtype)
            if new[name].shape != tuple(self._params[name].shape):
                wanted = tuple(self._params[name].shape)
                raise ShapeError(f"parameter {name!r} requires the shape {wanted}, got {new[name].shape}.")
        self._params = {**self._params, **self._bring(new)}

    @property
    def running(self) -> HostArrays:
        """Copies of the running statistics of BatchNorm layers; empty without any."""
        return self._fetch(self._running)

    def forward(self, x: Any) -> HostArray:
        """Return the raw outputs (rows, outputs) for x (rows, inputs), outside training."""
        x = data.check_features(x, self.network.inputs)
        return self._evaluator.outputs(self._params, self._running, x, link=False)

    def predict(self, x: Any) -> HostArray:
        """Return the outputs after the loss's link function (rows, outputs): probabilities for a loss on logits."""
        x = data.check_features(x, self.network.inputs)
        return self._evaluator.outputs(self._params, self._running, x, link=True)

    def evaluate(self, x: Any, y: Any, weights: Any = None) -> dict[str, float]:
        """Return {"loss": ..., "accuracy": ...} outside training; "rmse" in place of accuracy for targets that are values.

        The loss is the one that is trained, penalties included, over all rows.
        """
        return self._evaluator.evaluate(self._params, self._running, check_rows(self.network, x, y, weights))

    def loss_and_gradients(
        self, x: Any, y: Any, weights: Any = None, *, training: bool = True
    ) -> tuple[float, HostArrays]:
        """Return the loss over all rows and its gradient for every parameter, named and shaped like `parameters`.

        With `training`, dropout masks are those of the first step and BatchNorm uses the statistics of these rows.
        """
        rows = check_rows(self.network, x, y, weights)
        counter = self.backend.asarray(np.array([self.seed % 2**32, 0], dtype=np.uint32))
        loss, gradients = self._evaluator.gradients(self._params, self._running, counter, rows, training=training)
        return float(self.backend.to_numpy(loss)), self._fetch(gradients)

    def check(
        self, x: Any, y: Any, weights: Any = None, *, seed: int = 0, oracles: str | Sequence[str] | None = None
    ) -> Report:
        """Check the hand-written gradients at these rows before independent oracles: `bp.check_gradients(model, x, y)`.

        Return the Report: `passed`, `findings()` in words, `str()` as a table, `to_dict()` for JSON, `raise_if_failed()`.
        seed: draws sampled elements and directions. oracles: some of "autodiff", "differences", "complex step", "inner
        products"; all by default. The model is left as it was.
        """
        from bpengine.check import check_gradients
        from bpengine.check.oracles import NAMES

        return check_gradients(self, x, y, weights, seed=seed, oracles=NAMES if oracles is None else oracles)

    def trace(self, x: Any, y: Any, weights: Any = None, *, optimizer: str | Optimizer = "sgd") -> Trace:
        """Run the first training step of `optimizer` on all rows and return everything that happens in it.

        A `bpengine.explain.Trace`: every kernel call with what went in and came out, and for each layer z, a, dL/da, dL/dz
        and the gradients of its parameters. The model is left as it was.
        """
        from bpengine.explain.steps import trace_steps

        return next(trace_steps(self, x, y, weights, optimizer=optimizer, steps=1))

    def explain(self, x: Any, y: Any, *, layer: int | str, unit: int, **settings: Any) -> Explanation:
        """Write out where the gradient of one unit comes from: `bp.explain(model, x, y, layer=..., unit=...)`."""
        from bpengine.explain.unit import explain

        return explain(self, x, y, layer=layer, unit=unit, **settings)

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        optimizer: str | Optimizer = "adam",
        batch_size: int | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        weights: Any = None,
        validation: Sequence[Any] | None = None,
        only: str | Sequence[str] | None = None,
        update: str = "simultaneous",
        clip_norm: float | None = None,
        stop: Rule | Sequence[Rule] = (),
        shuffle: bool = True,
        callbacks: Callback | Sequence[Callback] = (),
        progress: bool = False,
        track_step_size: bool | None = None,
    ) -> History:
        """Train on x (rows, inputs) and y until `epochs`, `steps` or a rule of `stop` is reached; return the History.

        batch_size: rows per step; None is the full batch, 1 is online descent. The rows left over at the end of an epoch
            make a smaller step. weights: one per row. validation: (x, y), evaluated after each epoch.
        only: names of the parameters to train ("1.bias", "*.weight"); all others are frozen.
        update: "simultaneous", or "sequential": each layer is updated before the gradient is taken through it.
        clip_norm: largest norm of all gradients together. shuffle: a new order each epoch, given by (seed, epoch).
        callbacks: called with (model, epoch) after each epoch; a true result stops.
        track_step_size: record the largest change of any parameter at each step; by default when a step is an epoch.

        Raises ShapeError, DataError or ConfigError before anything is changed, and NonFiniteError when the loss is not
        finite: the model then keeps its last good parameters.
        """
        fit = Fit(
            optimizer, batch_size, epochs, steps, validation, only, update, clip_norm, stop, shuffle, callbacks, progress,
            track_step_size,
        )  # fmt: skip
        rows = check_rows(self.network, x, y, weights)
        with Shelf(self.backend) as shelf:
            own = Loan(self.backend, shelf, {"params": self._params, "running": self._running})
            trainer = fit.trainer(self._subject(own.arrays), rows, self._on_epoch(fit))
            if own.moved:
                self._params, self._running = {}, {}
            try:
                with fit.bar() as progress_bar:
                    state, history = trainer.run(progress_bar)
            except BaseException as error:
                if isinstance(error, NonFiniteError) or not self._params:
                    self._adopt(error.good_state if isinstance(error, NonFiniteError) else own.arrays())
                raise
        self._adopt(state)
        self.fits += 1
        return history

    def _subject(self, arrays: Callable[[], State]) -> Subject:
        seed = self.seed if self.fits == 0 else int(np.random.SeedSequence([self.seed, self.fits]).generate_state(1)[0])
        names, evaluate = tuple(self._params), self._evaluator.evaluate
        return Subject(self.network, self.backend, self._ops, names, arrays, seed, evaluate, self._steps)

    def _on_epoch(self, fit: Fit) -> Callable[[State, Epoch], bool]:
        def on_epoch(state: State, epoch: Epoch) -> bool:
            self._adopt(self.backend.copy(state))
            verdicts = [bool(callback(self, epoch)) for callback in fit.called]
            return any(verdicts)

        return on_epoch

    def to(self, backend: str | Backend, *, device: str | None = None) -> Model:
        """Return a copy of this model on another backend, with the same dtype and parameters."""
        made = get_backend(backend, precision=self.dtype, device=device)
        settings = self._settings()
        return Model._restored(self.network, made, settings, self.parameters, self.running)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, parameters and running statistics to a safetensors file, whole or not at all."""
        io.write(path, io.Contents(io.describe(self.network), self._settings(), self.parameters, self.running))

    def load_parameters(self, path: str | os.PathLike[str]) -> None:
        """Take over the parameters of a file of the same network.

        Raises ModelFileError, naming the first difference, when the file is of another network; the model stays as it is.
        """
        contents = io.read(path)
        if different := io.difference(io.describe(self.network), contents.network):
            raise ModelFileError(f"the model file {str(path)!r} is of another network. {different}.")
        io.check_arrays(path, "parameter", self._params, contents.params)
        io.check_arrays(path, "running statistic", self._running, contents.running)
        self._params = self._bring({name: contents.params[name] for name in self._params})
        self._running = self._bring({name: contents.running[name] for name in self._running})

    @classmethod
    def _restored(
        cls, network: Network, backend: Backend, settings: dict[str, Any], params: HostArrays, running: HostArrays
    ) -> Model:
        """Return a model with given arrays; nothing is drawn, for initial values may not be known any more."""
        model = cls.__new__(cls)
        model._start(network, backend, settings["seed"], params, running)
        model.fits, names = settings["fits"], settings.get("class_names")
        model.class_names = tuple(names) if names else None
        return model

    def _settings(self) -> dict[str, Any]:
        names = list(self.class_names) if self.class_names else None
        return {"dtype": self.dtype, "seed": self.seed, "fits": self.fits, "class_names": names}

    def _bring(self, arrays: HostArrays) -> dict[str, Array]:
        return {name: self.backend.asarray(array, self.dtype) for name, array in arrays.items()}

    def _fetch(self, arrays: Mapping[str, Array]) -> HostArrays:
        return {name: np.array(self.backend.to_numpy(array)) for name, array in arrays.items()}

    def _adopt(self, state: Any) -> None:
        names, running = self._names  # JAX sorts the names of a tree
        self._params = {name: state["params"][name] for name in names}
        self._running = {name: state["running"][name] for name in running}


def load(
    path: str | os.PathLike[str],
    backend: str | Backend = "numpy",
    *,
    layers: Mapping[str, type[Layer]] | None = None,
    losses: Mapping[str, Any] | None = None,
    activations: Mapping[str, Any] | None = None,
) -> Model:
    """Return the model of a file, on any backend. Runs no code of the file.

    What is one's own a file has by name alone. layers: classes of layers by name. losses, activations: by name, each a
    CustomLoss or CustomActivation, or its pair of functions (forward, backward).
    Raises ModelFileError when the file is missing, corrupt, truncated, or uses what is not known here.
    """
    contents = io.read(path)
    own = io.Own(dict(layers or {}), dict(losses or {}), dict(activations or {}))
    try:
        network = io.build(contents.network, own)
        shapes = io.build(contents.network, replace(own, layers={**own.layers, "Explicit": initializers.Zeros})).init(0)
    except (BpError, AttributeError, TypeError) as error:
        raise ModelFileError(
            f"the model file {str(path)!r} describes a network that cannot be built: {error}"
        ) from None
    io.check_arrays(path, "parameter", shapes[0], contents.params)
    io.check_arrays(path, "running statistic", shapes[1], contents.running)
    params = {name: contents.params[name] for name in shapes[0]}
    running = {name: contents.running[name] for name in shapes[1]}
    made = get_backend(backend, precision=contents.settings["dtype"])
    return Model._restored(network, made, contents.settings, params, running)


__all__ = ["Model", "load"]
