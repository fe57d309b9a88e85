"""The contents of a run folder: a line for each checkpoint, and a model file made from one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bpengine import io
from bpengine.errors import ConfigError, in_english
from bpengine.training.checkpoints import checkpoint_file
from bpengine.training.checkpoints.checkpoint_file import CheckpointContents, DamagedCheckpoint
from bpengine.training.checkpoints.store import listed


@dataclass(frozen=True, kw_only=True)
class CheckpointLine:
    """One checkpoint of a folder: fit, steps and epochs taken, the last step's loss, bytes, time written (seconds since 1970).

    stopped_by: why the fit had ended, "" where it had not. trouble: why the file is invalid, "" for a valid one.
    """

    file: str
    fit: str
    step: int
    size: int
    written: float
    epochs: int = 0
    loss: float | None = None
    stopped_by: str = ""
    trouble: str = ""


def lines(folder: str | os.PathLike[str]) -> list[CheckpointLine]:
    """Return a line for each checkpoint in a run folder, by fit and step; every byte of each file is checked.

    Raises ConfigError for a folder that cannot be read.
    """
    return [_line(fit, step, path) for fit, step, path in listed(Path(folder))]


def _line(fit: str, step: int, path: Path) -> CheckpointLine:
    status = path.stat()
    known: dict[str, Any] = {
        "file": path.name,
        "fit": fit,
        "step": step,
        "size": status.st_size,
        "written": status.st_mtime,
    }
    try:
        contents = checkpoint_file.read(path)
    except DamagedCheckpoint as error:
        return CheckpointLine(**known, trouble=in_english(error))
    losses = contents.arrays.get("record/loss", np.empty(0))
    facts = contents.facts
    return CheckpointLine(
        **known,
        epochs=len(contents.arrays["epochs/steps"]) if facts["stopped_by"] else facts["open"]["epochs"],
        loss=float(losses[-1]) if len(losses) else None,
        stopped_by=facts["stopped_by"],
    )


def save_model(folder: str | os.PathLike[str], path: str | os.PathLike[str], step: int | None = None) -> CheckpointLine:
    """Write the model of a checkpoint to a model file, and return the checkpoint's line.

    step: that of the checkpoint; the newest whole one of the last fit by default. For a fit that has ended it is the fit's
    final model: that of the best epoch where a rule restored it.
    Raises ConfigError where there is no such checkpoint, ModelFileError for a network that no model file can hold.
    """
    whole = [line for line in lines(folder) if not line.trouble and step in (None, line.step)]
    if not whole:
        which = "a whole checkpoint" if step is None else f"a whole checkpoint of step {step}"
        raise ConfigError(f"the folder {str(folder)!r} requires {which}, got none. See: bpengine checkpoint {folder}.")
    line = whole[-1]
    contents = checkpoint_file.read(Path(folder) / line.file)
    network = contents.identity["network"]
    if "layers" not in network:
        raise ConfigError(
            "a model file cannot hold this network: its layers are not dataclasses of plain settings. Resume the fit, and "
            "take the parameters from the model."
        )
    params, running = (_arrays(contents, kind) for kind in ("params", "running"))
    io.write(path, io.Contents(network, contents.facts["model"], params, running))
    return line


def _arrays(contents: CheckpointContents, kind: str) -> dict[str, np.ndarray[Any, Any]]:
    ended = bool(contents.facts["stopped_by"])
    best = f"best/{kind}/"
    start = best if ended and any(name.startswith("best/") for name in contents.arrays) else f"state/{kind}/"
    names = contents.facts["names"][kind]
    return {name: contents.arrays[f"{start}{name}"] for name in names}
