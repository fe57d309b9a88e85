"""After a power cut at any moment the fit goes on from the newest checkpoint that was written, with the undisturbed bits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import bpengine as bp
from bpengine.training.checkpoints import checkpoint_file
from bpengine.training.checkpoints.checkpoint_file import CheckpointContents
from tests.checkpoints.fits import checkpoints, fitted, network
from tests.checkpoints.power_cut import Disk, State, restore

EVERY = 15  # steps between checkpoints


def newest(names: Iterable[str]) -> int:
    """Return the step of the newest checkpoint among these names, 0 without one."""
    return max(
        (int(match[1]) for name in names if (match := re.fullmatch(r"fit0-step(\d{12})\.ckpt", name))), default=0
    )


def without_drafts(state: State) -> dict[str, bytes | None]:
    """Return what decides how the fit goes on."""
    return {path.name: content for path, content in state.items() if path.suffix != ".draft"}


def test_a_power_cut_at_any_moment_loses_no_checkpoint_that_was_written(tmp_path: Path) -> None:
    expected = fitted(bp.Model(network()), epochs=6)
    root = tmp_path / "disk"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        disk, write = Disk(root, patch), checkpoint_file.write

        def noted(path: Path, contents: CheckpointContents) -> None:
            write(path, contents)
            disk.written.add(path.name)

        patch.setattr(checkpoint_file, "write", noted)
        run = bp.RunFolder(root / "runs" / "run", every=EVERY, keep=2)
        assert fitted(bp.Model(network()), epochs=6, run=run) == expected
    for cut in disk.cuts:
        assert newest(path.name for path in cut.state) >= newest(cut.written)
    distinct: list[State] = []
    for state, _ in disk.cuts:
        if without_drafts(state) not in map(without_drafts, distinct):
            distinct.append(state)
    assert len(distinct) > 2 * 60 // EVERY
    for number, state in enumerate(distinct):
        copy = tmp_path / str(number)
        restore(state, root, copy)
        run = bp.RunFolder(copy / "runs" / "run", every=EVERY, keep=2)
        assert fitted(bp.Model(network()), epochs=6, run=run, resume=True) == expected
        assert newest(path.name for path in checkpoints(copy / "runs" / "run")) == 60
