"""`bpengine checkpoint`: the contents of a run folder, and a model file made from a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bpengine.cli.exit_codes import FAILED
from bpengine.cli.output import columns, print_json, require_writable, say, show
from bpengine.errors import ConfigError
from bpengine.training.checkpoints import folder_contents
from bpengine.training.checkpoints.folder_contents import CheckpointLine

HELP = """\
List the checkpoints of a run folder, or take a model file out of one.

Every byte of each file is checked. --model writes the newest whole checkpoint, or that of --step, as a model file that
predict, check and explain read: the parameters after that step; of a run that has ended, those that it ended with.
The loss in the list is that of the last step's rows; train shows and logs the mean over the rows of an epoch.
The exit code is 1 when a file is damaged.

\b
Examples:
  bpengine checkpoint run
  bpengine checkpoint run --model model.safetensors
  bpengine checkpoint run --step 500 --model early.safetensors
"""


def checkpoint(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that train --checkpoint wrote to.")],
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a model file (safetensors).  [default: list only]")
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="The checkpoint after this step.  [default: the newest]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file given by --model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List checkpoints, or write a model file."""
    if model is None:
        if step is not None:
            raise ConfigError("--step requires --model FILE, got none.")
        _list(folder_contents.lines(folder), folder, as_json=as_json)
        return
    require_writable(model, force=force, option="--model")
    line = folder_contents.save_model(folder, model, step)
    print_json({"checkpoint": line.file, "step": line.step, "model": str(model)}) if as_json else say(
        f"{model}: the model after step {line.step} ({line.file})"
    )


def _list(lines: list[CheckpointLine], folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(line) for line in lines])
    elif lines:
        heads = ("fit", "state", "steps", "epochs", "loss of the last step", "MB", "written")
        show(columns(heads, [_cells(line) for line in lines]))
    else:
        say(f"{folder}: no checkpoints")
    if any(line.trouble for line in lines):
        raise typer.Exit(FAILED)


def _cells(line: CheckpointLine) -> tuple[str, ...]:
    written = f"{datetime.fromtimestamp(line.written):%Y-%m-%d %H:%M:%S}"
    state = "damaged" if line.trouble else f"ended: {line.stopped_by}" if line.stopped_by else "whole"
    loss = "" if line.loss is None else f"{line.loss:.6g}"
    return line.fit, state, f"{line.step:,}", f"{line.epochs:,}", loss, f"{line.size / 1e6:.2f}", written
