"""Options that select logs of the epochs and their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from bpengine.callbacks import CSVLog, JSONLog, TensorBoard
from bpengine.cli.commands.train.row_parts import Part
from bpengine.cli.output import require_writable
from bpengine.data import Encoded
from bpengine.errors import ConfigError
from bpengine.training.callbacks import Callback

FILES: Final = {"epochs.csv": CSVLog, "epochs.jsonl": JSONLog}
SAMPLE: Final = 256  # training rows on which layers are measured: more rows add little about dead units


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
