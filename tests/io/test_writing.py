"""Saving is whole or not at all: on a failure the old file stays, and nothing else is left behind."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine import io

NETWORK = bp.Network(2, [bp.Dense(1)], "mean_squared_error")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    bp.Model(NETWORK, seed=1).save(path)
    return path


def refuse(*given: Any, **options: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("module", "function"),
    [(os, "replace"), (os, "fsync"), (os, "chmod"), (tempfile, "NamedTemporaryFile")],
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, function: str
) -> None:
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(module, function, refuse)
        with pytest.raises(bp.ModelFileError, match=r"cannot write .*No space left on device\. Nothing was changed"):
            bp.Model(NETWORK, seed=2).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    bp.Model(NETWORK, seed=2).save(path)
    assert path.read_bytes() != before


def test_a_failure_where_nothing_was_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(bp.ModelFileError, match="cannot write"):
        bp.Model(NETWORK).save(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*given: Any) -> Any:
        raise KeyboardInterrupt

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bp.Model(NETWORK, seed=2).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_missing_folder(tmp_path: Path) -> None:
    target = tmp_path / "no" / "model"
    with pytest.raises(bp.ModelFileError, match=r"there is no folder '.*no'\. Create it first") as caught:
        bp.Model(NETWORK).save(target)
    assert str(target) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(bp.ModelFileError, match=r"it is a folder\. Give a file name") as caught:
        bp.Model(NETWORK).save(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder(path: Path) -> None:
    with pytest.raises(bp.ModelFileError, match="cannot write"):
        bp.Model(NETWORK).save(path / "model")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(bp.ModelFileError, match="cannot write"):
        bp.Model(NETWORK).save(tmp_path / ("n" * 300))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_of_an_existing_file_is_kept(path: Path, mode: int) -> None:
    path.chmod(mode)
    bp.Model(NETWORK, seed=2).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        bp.Model(NETWORK).save(tmp_path / "model")
        (tmp_path / "other").touch()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_whole_bytes_are_written(tmp_path: Path, rng: np.random.Generator) -> None:
    data = rng.bytes(100_000)
    for _ in range(2):
        io.write_whole(tmp_path / "bytes", data)
    assert (tmp_path / "bytes").read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["bytes"]


def test_a_description_that_is_not_json_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TypeError, match="serializable"):
        io.write(path, io.Contents({"note": object()}, {}, {}, {}))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
