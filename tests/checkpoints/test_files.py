"""Files of checkpoints: whole or not at all, every byte covered, the oldest removed, one fit to a folder."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.output import writing
from bpengine.training.checkpoints import checkpoint_file, folder_contents
from bpengine.training.checkpoints.checkpoint_file import CheckpointContents, DamagedCheckpoint
from bpengine.training.checkpoints.fit_identity import BLOCKS, fingerprint
from tests.checkpoints.fits import checkpoints, data, fitted, network, settings


def small(tmp_path: Path) -> Path:
    """Return a small checkpoint with an array of each kind."""
    arrays = {
        "state/params/0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "state/counter": np.array([7, 3], np.uint32),
        "record/loss": np.array([0.5, 0.25]),
        "epochs/steps": np.array([2]),
        "empty": np.empty((0, 4)),
        "one": np.float64(np.pi),
    }
    contents = CheckpointContents(
        step=2, arrays=arrays, facts={"stopped_by": "", "text": "é"}, identity={"seed": 1}, circumstances={"numpy": "2"}
    )
    checkpoint_file.write(tmp_path / "fit0-step000000000002.ckpt", contents)
    return tmp_path / "fit0-step000000000002.ckpt"


def test_checkpoint_round_trip_keeps_every_value(tmp_path: Path) -> None:
    contents = checkpoint_file.read(small(tmp_path))
    assert (contents.step, contents.facts["text"], contents.identity) == (2, "é", {"seed": 1})
    assert contents.arrays["state/counter"].dtype == np.uint32
    assert contents.arrays["one"].shape == ()
    assert contents.arrays["one"] == np.pi
    assert contents.arrays["empty"].shape == (0, 4)
    assert (contents.arrays["state/params/0.weight"] == np.arange(6).reshape(2, 3)).all()


def test_checkpoint_is_an_ordinary_safetensors_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    assert load_file(small(tmp_path))["state/counter"].tolist() == [7, 3]


def test_every_flipped_byte_is_found(tmp_path: Path, rng: np.random.Generator) -> None:
    path = small(tmp_path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))]) + whole[at + 1 :])
        with pytest.raises(DamagedCheckpoint, match="is damaged: "):
            checkpoint_file.read(path)


def test_every_truncation_and_addition_is_found(tmp_path: Path) -> None:
    path = small(tmp_path)
    whole = path.read_bytes()
    for content in (*(whole[:end] for end in range(len(whole))), whole + b"\0", whole + whole):
        path.write_bytes(content)
        with pytest.raises(DamagedCheckpoint, match="is damaged: "):
            checkpoint_file.read(path)


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, rng: np.random.Generator) -> None:
    expected = fitted(bp.Model(network()), epochs=6)
    folder = bp.RunFolder(tmp_path, every=7)
    fitted(bp.Model(network()), epochs=6, run=folder)
    newest = checkpoints(tmp_path)[-1]
    content = bytearray(newest.read_bytes())
    content[int(rng.integers(len(content)))] ^= 0x10
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=rf"{newest.name}.* is damaged: .* It is passed over"):
        assert fitted(bp.Model(network()), epochs=6, run=folder, resume=True) == expected


def test_oldest_checkpoints_and_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".fit0-step000000000005.ck.0123456789ab.0011223344556677.draft"
    left.write_bytes(b"half")
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    fitted(bp.Model(network()), epochs=4, run=bp.RunFolder(tmp_path, every=5, keep=2))
    assert [path.name[-9:-5] for path in checkpoints(tmp_path)] == ["0035", "0040"]
    assert not left.exists()
    assert other.read_text() == "mine"


def test_a_full_folder_ends_the_fit_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, real, written = bp.Model(network()), os.write, []

    def full(file: int, content: Any) -> int:
        written.append(len(content))
        if sum(written) > 30_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, content)

    monkeypatch.setattr(writing.os, "write", full)
    with pytest.raises(bp.WriteError, match=r"cannot write '.*\.ckpt': No space left on device\. Nothing was changed"):
        fitted(model, epochs=9, run=bp.RunFolder(tmp_path, every=5), callbacks=())
    monkeypatch.undo()
    assert [path.suffix for path in tmp_path.iterdir() if path.name != ".lock"] == [".ckpt"] * len(
        checkpoints(tmp_path)
    )
    assert all(np.isfinite(value).all() for value in model.parameters.values())
    again = fitted(bp.Model(network()), epochs=9, run=bp.RunFolder(tmp_path, every=5), resume=True, callbacks=())
    assert again == fitted(bp.Model(network()), epochs=9, callbacks=())


def test_unusable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(bp.ConfigError, match=r"run requires a folder that can be made, got '.*file/run'"):
        fitted(bp.Model(network()), epochs=1, run=tmp_path / "file" / "run")
    with pytest.raises(bp.ConfigError, match=r"run requires a folder that can be made, got '.*file'"):
        fitted(bp.Model(network()), epochs=1, run=tmp_path / "file")


@pytest.mark.skipif(writing.locks is None, reason="this system has no locks of whole files")
def test_a_folder_in_use_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    def second(model: bp.Model, epoch: Any) -> None:
        with pytest.raises(bp.ConfigError, match=r"the folder '.*' is in use by another fit"):
            bp.Model(network()).fit(*data(), epochs=1, run=tmp_path)

    fitted(bp.Model(network()), epochs=1, run=tmp_path, callbacks=second)
    with pytest.raises(bp.ConfigError, match="of this fit"):
        fitted(bp.Model(network()), epochs=1, run=tmp_path, callbacks=second)
    fitted(bp.Model(network()), epochs=1, run=tmp_path, callbacks=second, resume=True)


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is held until an epoch has gone on; what it then writes is the state of its step all the same."""
    expected = fitted(bp.Model(network()), epochs=4)
    held, real = threading.Event(), checkpoint_file.write

    def write(path: Path, contents: CheckpointContents) -> None:
        if contents.step == 10:
            assert held.wait(20)
        real(path, contents)

    def free(model: bp.Model, epoch: Any) -> None:
        if epoch.number == 2:
            held.set()

    monkeypatch.setattr(checkpoint_file, "write", write)
    fitted(bp.Model(network()), epochs=4, run=bp.RunFolder(tmp_path, every=10, keep=9), callbacks=free)
    for path in checkpoints(tmp_path)[1:]:
        path.unlink()
    monkeypatch.undo()
    ends = bp.Model(network())
    ends.fit(*data(), **settings(epochs=4, run=bp.RunFolder(tmp_path, every=10), resume=True, callbacks=free))
    plain = bp.Model(network())
    plain.fit(*data(), **settings(epochs=4))
    assert all((ends.parameters[name] == value).all() for name, value in plain.parameters.items())
    assert expected


def test_checkpoints_are_written_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by itself: a second for each look."""
    from bpengine.training.checkpoints import checkpointer

    clock = iter(range(10**6))
    monkeypatch.setattr(checkpointer, "time", type("clock", (), {"perf_counter": staticmethod(lambda: next(clock))}))
    fitted(bp.Model(network()), epochs=8, run=bp.RunFolder(tmp_path, seconds=3, keep=99))
    assert 5 < len(checkpoints(tmp_path)) < 41
    assert time.perf_counter() > 0


def test_folder_lists_its_checkpoints_and_gives_a_model_file(tmp_path: Path) -> None:
    rule = {"stop": bp.NoImprovement(3), "epochs": 500, "optimizer": bp.Adam(0.05), "callbacks": ()}
    model = bp.Model(network())
    model.fit(*data(), **settings(**rule, run=bp.RunFolder(tmp_path / "run", every=3)))
    lines = folder_contents.lines(tmp_path / "run")
    assert [line.stopped_by for line in lines] == ["", "", "no improvement on validation data for 3 epochs"]
    assert lines[-1].epochs * 10 == lines[-1].step
    assert all(line.size > 1000 and line.written > 1e9 and np.isfinite(line.loss or np.nan) for line in lines)
    folder_contents.save_model(tmp_path / "run", tmp_path / "m.safetensors")
    loaded = bp.load(tmp_path / "m.safetensors")
    for name, value in {**model.parameters, **model.running}.items():
        assert ({**loaded.parameters, **loaded.running}[name] == value).all()
    folder_contents.save_model(tmp_path / "run", tmp_path / "early.safetensors", lines[0].step)
    assert (bp.load(tmp_path / "early.safetensors").parameters["0.weight"] != model.parameters["0.weight"]).any()
    with pytest.raises(bp.ConfigError, match="requires a whole checkpoint of step 1, got none"):
        folder_contents.save_model(tmp_path / "run", tmp_path / "no.safetensors", 1)


def test_networks_without_a_model_file_format_have_checkpoints(tmp_path: Path) -> None:
    class Halved(bp.Layer):
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
            return x * self.factor, None, {}

        def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
            return dy * self.factor, {}

    own = bp.Network(6, [bp.Dense(5, "tanh"), Halved(0.5), bp.Dense(3)], "softmax_cross_entropy")
    options = {"epochs": 4, "callbacks": ()}
    expected = fitted(bp.Model(own), **options)
    folder = bp.RunFolder(tmp_path, every=7)
    assert fitted(bp.Model(own), **options, run=folder) == expected
    checkpoints(tmp_path)[-1].unlink()
    assert fitted(bp.Model(own), **options, run=folder, resume=True) == expected
    with pytest.raises(bp.ConfigError, match="a model file cannot hold this network"):
        folder_contents.save_model(tmp_path, tmp_path / "m.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_fingerprint_distinguishes_arrays(dtype: str, rng: np.random.Generator) -> None:
    small = (100 * rng.standard_normal((40, 5))).astype(dtype)
    seen = {fingerprint(small), fingerprint(small[:-1]), fingerprint(small.T), fingerprint(small.astype("float16"))}
    for at in np.ndindex(small.shape):
        changed = small.copy()
        changed[at] += 1
        seen.add(fingerprint(changed))
    assert len(seen) == 4 + small.size
    assert fingerprint(np.asfortranarray(small)) == fingerprint(small)
    large = np.zeros((10**6, 4), dtype)
    assert fingerprint(large) == fingerprint(large.copy())
    first, last = large.copy(), large.copy()
    first[0, 0] = last[-1, -1] = 1
    assert len({fingerprint(one) for one in (large, first, last)}) == 3
    assert BLOCKS == 256
