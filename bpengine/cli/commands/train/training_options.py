"""Groups of options of `bpengine train`: the network, the steps, the rows, what limits the weights, the files, the logs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.callbacks import CSVLog, JSONLog, TensorBoard
from bpengine.cli import network_options
from bpengine.cli.commands.train.row_parts import Part, RowParts, balanced_weights, fraction_or_file, validation_part
from bpengine.cli.output import require_writable
from bpengine.data import Encoded
from bpengine.errors import ConfigError
from bpengine.layers import Layer
from bpengine.training import Optimizer
from bpengine.training.callbacks import Callback
from bpengine.training.stopping import default_epochs

FILES: Final = {"epochs.csv": CSVLog, "epochs.jsonl": JSONLog}
SAMPLE: Final = 256  # training rows on which layers are measured: more rows add little about dead units
RATE: Final = 3e-3  # training on small tables has converged after these steps; bench/README.md says how it was chosen
DECAY, DECAY_ROWS, DECAYED = 0.03, 6.0, 10  # largest strength of the penalty; its strength times the rows; fewest rows
Figure = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="Draw the loss while training into this file (.png, .svg, .pdf).  [default: not drawn]",
    ),
]


@dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """The layers, the loss, and what computes them."""

    layers: network_options.Layers = "64,32"
    activation: network_options.Activation = "relu"
    output_activation: network_options.OutputActivation = None
    loss: network_options.LossName = None
    backend: network_options.BackendName = "numpy"
    dtype: network_options.Dtype = "float32"
    threads: network_options.Threads = None
    blas: network_options.Blas = None

    def named_loss(self) -> bp.Loss | None:
        """Return the loss that was asked for, None for that of the task."""
        return bp.Loss(self.loss) if self.loss is not None else None


@dataclass(frozen=True, kw_only=True)
class StepChoice:
    """The update rule, and how many steps on how many rows."""

    optimizer: network_options.OptimizerName = "adam"
    learning_rate: network_options.LearningRate = RATE
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per step; all rows when there are fewer.")] = 128
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Times that every training row is seen, at most.  [default: 200 for up to 10,000 rows, fewer for more, at "
            "least 20, and 400 steps]",
        ),
    ] = None

    def rule(self) -> Optimizer:
        """Return the optimizer; raise ConfigError for an unknown one."""
        return network_options.optimizer(self.optimizer, self.learning_rate)

    def batch(self, rows: int) -> int:
        """Return the rows of a step."""
        return min(self.batch_size, rows)

    def length(self, rows: int) -> int:
        """Return the number of epochs."""
        return self.epochs or default_epochs(rows, self.batch(rows))


@dataclass(frozen=True, kw_only=True)
class RowChoice:
    """Which rows are held out, and how much each class counts."""

    seed: Annotated[int, typer.Option(min=0, help="Draws the split, initial weights, order of rows, dropout.")] = 0
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE|FILE",
            help="Rows scored after each epoch, for --early-stopping.  [default: none; 0.1 with --early-stopping]",
        ),
    ] = None
    test: Annotated[
        str,
        typer.Option(
            "--test", "--test-fraction", metavar="SHARE|FILE", help="Rows held out for the score; 0 for none."
        ),
    ] = "0.2"
    class_weight: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="balanced: every class counts the same.  [default: every row does]"),
    ] = None

    @property
    def validates(self) -> bool:
        """Whether rows to validate with were named."""
        return fraction_or_file(self.validation, "--validation") is not None

    def parts(self, *, stopping: bool) -> tuple[float | str | None, float | str | None]:
        """Return the validation rows and the test rows, each a share, a file or None; raise ConfigError for invalid ones."""
        held_out = fraction_or_file(self.test, "--test")
        validated = validation_part(self.validation, stopping=stopping)
        if self.class_weight not in (None, "balanced"):
            raise ConfigError(f"--class-weight requires 'balanced', got {self.class_weight!r}.")
        return validated, held_out

    def weights(self, parts: RowParts, features: bp.Features) -> HostArray | None:
        """Return the weight of each training row, None where all count the same."""
        if self.class_weight is None:
            return None
        if features.classes is None:
            raise ConfigError(
                "--class-weight requires classes, got values to predict. Drop it, or say --task classification."
            )
        return balanced_weights(parts.training.y, len(features.classes))


@dataclass(frozen=True, kw_only=True)
class LimitChoice:
    """What keeps weights and gradients small, and when training stops."""

    dropout: Annotated[float, typer.Option(help="Share of each hidden layer's outputs that is dropped.")] = 0.0
    batch_norm: Annotated[bool, typer.Option("--batch-norm", help="Normalise each hidden layer.  [default: no]")] = (
        False
    )
    l1: Annotated[float, typer.Option(help="Strength of the penalty strength * sum of absolute weights.")] = 0.0
    l2: Annotated[
        float | None,
        typer.Option(
            help="Strength of the penalty strength/2 * sum of squared weights.  [default: 6 divided by the training rows, at "
            "most 0.03; none below 10 rows, as those of textbooks]"
        ),
    ] = None
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest norm of all gradients together.  [default: no limit]")
    ] = None
    patience: Annotated[
        int | None,
        typer.Option(
            "--early-stopping",
            "--patience",
            min=1,
            help="Stop after this many epochs without a lower loss, or a better --monitor, on the validation rows and go back "
            "to the best. Rows held out to test never choose the epoch.  [default: never]",
        ),
    ] = None

    @property
    def stops(self) -> bool:
        """Whether training stops early."""
        return self.patience is not None

    def hidden_layers(self, chosen: NetworkChoice) -> list[Layer]:
        """Return the hidden layers, each with normalisation and dropout where they are asked for."""
        return network_options.hidden_layers(chosen.layers, chosen.activation, self.dropout, batch_norm=self.batch_norm)

    def decay(self, rows: int) -> float:
        """Return the strength of the penalty on weights; by default few training rows have a stronger one."""
        if self.l2 is not None:
            return self.l2
        return min(DECAY, DECAY_ROWS / rows) if rows >= DECAYED else 0.0

    def rule(self, monitor: str) -> bp.NoImprovement | None:
        """Return the rule of early stopping, None where there is none."""
        return None if self.patience is None else bp.NoImprovement(self.patience, monitor=monitor)


@dataclass(frozen=True, kw_only=True)
class FileChoice:
    """The files that are written, and the folder of checkpoints."""

    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the model here (safetensors).  [default: not saved]")
    ] = None
    figure: Figure = None
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FOLDER",
            help="Write checkpoints there; a run that is killed goes on from them with --resume.  [default: none]",
        ),
    ] = None
    every: Annotated[
        int | None, typer.Option(min=1, help="Steps between two checkpoints.  [default: one every 300 seconds]")
    ] = None
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the newest checkpoint in the folder; from the start without one."),
    ] = False
    force: Annotated[bool, typer.Option("--force", help="Overwrite the files given by --out, --figure and --log.")] = (
        False
    )

    @property
    def replaces(self) -> bool:
        """Whether files that exist may be overwritten: a run that goes on writes its own again."""
        return self.force or self.resume

    def check(self) -> None:
        """Raise ConfigError, before any work, for a model file or figure that could not be written, with the reason."""
        if self.out is not None:
            require_writable(self.out, force=self.replaces)
        if self.figure is None:
            return
        from bpengine.explain import figures  # imported only with --figure: it loads all of explain

        figures.require_matplotlib()
        figures.check_target(self.figure, force=True)
        require_writable(self.figure, force=self.replaces, option="--figure")
        if self.out is not None and self.figure.resolve() == self.out.resolve():
            raise ConfigError(f"--figure and --out require two files, got {str(self.figure)!r} for both.")

    def run_folder(self) -> bp.RunFolder | None:
        """Return the folder of checkpoints, None for none; raise ConfigError for options that need --checkpoint."""
        if self.checkpoint is not None:
            return bp.RunFolder(self.checkpoint, every=self.every)
        if self.resume or self.every is not None:
            raise ConfigError(f"{'--resume' if self.resume else '--every'} requires --checkpoint FOLDER, got none.")
        return None


@dataclass(frozen=True, kw_only=True)
class Logs:
    """The logs to keep."""

    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Log every epoch there, in epochs.csv and epochs.jsonl.  [default: not logged]"
        ),
    ] = None
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write TensorBoard's event files there.  [default: not written]"),
    ] = None
    log_layers: Annotated[
        bool,
        typer.Option(
            "--log-layers",
            help=f"Log each layer's gradient norm, dead and saturated units too, on {SAMPLE} training rows.  [default: no]",
        ),
    ] = False

    @property
    def asked(self) -> dict[str, bool]:
        """Each option, and whether it is given."""
        return {"--log": self.log is not None, "--tensorboard": self.tensorboard is not None}

    def check(self, *, force: bool) -> None:
        """Raise ConfigError, before any work, for files that exist, or cannot be written, and for layers without a log."""
        if self.log_layers and self.log is None and self.tensorboard is None:
            raise ConfigError("--log-layers requires --log FOLDER or --tensorboard FOLDER, got neither.")
        for path in self._files():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"--log requires a folder, got {str(path.parent)!r}, which cannot be made: {error}."
                ) from None
            require_writable(path, force=force, option="--log")
        if self.tensorboard is not None:
            TensorBoard(self.tensorboard)

    def callbacks(self, training: Part) -> list[Callback]:
        """Return the logs. training: the rows, on some of which layers are measured."""
        layers: Any = None
        if self.log_layers:
            chosen = np.unique(np.linspace(0, training.rows - 1, SAMPLE).round().astype(int))
            layers = Encoded(np.asarray(training.x.x[chosen])), training.y[chosen]
        kinds = zip(self._files(), FILES.values(), strict=False)
        logs: list[Callback] = [kind(path, layers=layers) for path, kind in kinds]
        return logs + ([TensorBoard(self.tensorboard, layers=layers)] if self.tensorboard is not None else [])

    def _files(self) -> Iterator[Path]:
        if self.log is not None:
            yield from (self.log / name for name in FILES)
