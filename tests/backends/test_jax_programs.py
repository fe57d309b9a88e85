"""Programs of XLA on disk: the same results, made anew where a file is damaged, and no setting of JAX is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from bpengine_jax import programs
from bpengine_jax.programs import Program
from bpengine_steps.disk import Cache
from jax.experimental import io_callback
from jax.experimental.compilation_cache import compilation_cache

import bpengine as bp


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """Keep programs in a folder of the test's own, whatever JAX does."""
    cache = Cache(tmp_path / "xla", quiet=True)
    monkeypatch.setattr(programs, "store", lambda: cache)
    monkeypatch.setattr(programs, "in_use", lambda: True)
    return cache


@pytest.fixture
def kept(own: Cache) -> Iterator[Cache]:
    """Keep programs there, and have JAX keep none."""
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    yield own
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the names of the programs that XLA compiles."""
    names, compile_now = list[str](), jax.stages.Lowered.compile
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda self, *args: names.append(str(self)) or compile_now(self, *args)
    )
    return names


def scaled(factor: float) -> Program:
    return Program(lambda tree, x: {"sum": tree["a"] * factor + x}, donate=(0,))


def run(program: Program) -> np.ndarray:
    tree = {"a": jax.numpy.arange(3.0)}
    result = np.asarray(program(tree, np.ones(3))["sum"])
    assert tree["a"].is_deleted()
    return result


def files(cache: Cache) -> list[Path]:
    assert cache.folder
    return sorted(cache.folder.glob("*"))


def test_a_program_is_compiled_once_for_all_processes(kept: Cache, compiled: list[str]) -> None:
    first = run(scaled(2.0))
    assert len(compiled) == len(files(kept)) == 1
    np.testing.assert_array_equal(run(scaled(2.0)), first)
    assert len(compiled) == 1
    np.testing.assert_array_equal(run(scaled(3.0)), [1.0, 4.0, 7.0])  # other code
    assert len(compiled) == len(files(kept)) == 2


@pytest.mark.parametrize("damage", [b"", b"no program", None])
def test_a_damaged_file_is_made_anew(damage: bytes | None, kept: Cache, compiled: list[str]) -> None:
    """Cut off, of another kind, or with one bit turned over."""
    first = run(scaled(2.0))
    (path,) = files(kept)
    whole = path.read_bytes()
    turned = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    path.write_bytes(turned if damage is None else damage)
    np.testing.assert_array_equal(run(scaled(2.0)), first)
    assert len(compiled) == 2
    np.testing.assert_array_equal(run(scaled(2.0)), first)
    assert len(compiled) == 2


def test_a_file_that_this_jax_cannot_load_is_made_anew(kept: Cache, compiled: list[str]) -> None:
    first = run(scaled(2.0))
    put = kept.put
    (path,) = files(kept)
    content = path.read_bytes()
    keys = list[str]()
    get = kept.get
    kept.get = lambda key: keys.append(key) or get(key)
    run(scaled(2.0))
    put(keys[0], b"whole, and no program")
    np.testing.assert_array_equal(run(scaled(2.0)), first)
    assert len(compiled) == 2
    assert len(path.read_bytes()) == len(content)


@pytest.mark.filterwarnings("error")
def test_arguments_that_a_function_does_not_use_have_programs_of_their_own(kept: Cache, compiled: list[str]) -> None:
    """XLA's text lacks them, and the update rule without memory uses none; their shapes are checked all the same."""
    for size in (3, 4, 4):
        unused = Program(lambda x, params: x + 1.0)  # a new one, as in a new process
        assert unused(jax.numpy.ones(2), {"w": jax.numpy.ones(size)}).tolist() == [2.0, 2.0]
    assert len(files(kept)) == 2
    for size in (3, 4):
        network = bp.Network(2, [bp.Dense(size), bp.Dense(1)], "mean_squared_error")
        model = bp.Model(network, bp.get_backend("jax"))
        assert model.fit(np.ones((4, 2)), np.ones((4, 1)), optimizer="sgd", epochs=1).steps == 1


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path: Path, kept: Cache, compiled: list[str]) -> None:
    (tmp_path / "file").write_text("")
    kept.folder = tmp_path / "file" / "xla"
    for _ in range(2):
        np.testing.assert_array_equal(run(scaled(2.0)), [1.0, 3.0, 5.0])
    assert len(compiled) == 2
    assert kept.state().trouble


def test_programs_in_jaxs_own_cache_are_not_stored_again(own: Cache, tmp_path: Path) -> None:
    folder = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
    compilation_cache.reset_cache()
    try:
        for written in (1, 0):
            np.testing.assert_array_equal(run(scaled(2.0)), [1.0, 3.0, 5.0])
            assert own.clear() == written
    finally:
        jax.config.update("jax_compilation_cache_dir", folder)
        compilation_cache.reset_cache()


def test_programs_that_call_the_host_are_not_stored(kept: Cache) -> None:
    def noisy(x: Any) -> Any:
        return io_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    np.testing.assert_array_equal(Program(noisy)(jax.numpy.ones(2)), [1.0, 1.0])
    assert not files(kept)


def test_nothing_is_stored_where_jax_caches_or_caching_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(programs.SWITCH, raising=False)
    folder = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        assert programs.in_use()
        monkeypatch.setenv(programs.SWITCH, "0")
        assert not programs.in_use()
        monkeypatch.delenv(programs.SWITCH)
        jax.config.update("jax_compilation_cache_dir", "/somewhere")
        assert not programs.in_use()
    finally:
        jax.config.update("jax_compilation_cache_dir", folder)


def test_compiled_functions_can_be_called_inside_others(kept: Cache) -> None:
    inner = Program(lambda x: x * x)
    np.testing.assert_array_equal(jax.jvp(inner, (jax.numpy.full(2, 3.0),), (jax.numpy.ones(2),))[1], [6.0, 6.0])
    assert not files(kept)


def test_a_function_is_kept_for_a_limited_number_of_shapes(
    compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "SHAPES", 2)
    program = Program(lambda x: x + 1.0)
    for rows in (1, 2, 3, 2, 1):
        program(jax.numpy.ones(rows))
    assert len(program._compiled) == 2
    assert len(compiled) == 4


def test_stored_programs_give_the_same_bits(kept: Cache, compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    settings = {name: value for name, value in jax.config.values.items() if name != "jax_compilation_cache_dir"}

    def losses() -> list[float]:
        bp.clear_caches()
        network = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dropout(0.2), bp.Dense(2)], "softmax_cross_entropy")
        return bp.Model(network, "jax").fit(x, y, batch_size=8, epochs=2).loss.tolist()

    first, times = losses(), len(compiled)
    assert losses() == first
    assert len(compiled) == times == len(files(kept))
    monkeypatch.setattr(programs, "in_use", lambda: False)
    assert losses() == first
    assert len(compiled) > times
    assert settings == {n: v for n, v in jax.config.values.items() if n != "jax_compilation_cache_dir"}


FIT = """
import jax, numpy as np, bpengine as bp
before = dict(jax.config.values)
x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
network = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], "softmax_cross_entropy")
print(bp.Model(network, "jax").fit(x, y, batch_size=8, epochs=2).loss.tolist())
assert before == dict(jax.config.values)
"""


@pytest.mark.thorough(keep=0)
def test_two_processes_fill_one_folder_at_once(tmp_path: Path) -> None:
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("JAX_COMPILATION", programs.SWITCH))}
    environment = inherited | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", FIT]

    def begin(**more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(command, env=environment | more, stdout=subprocess.PIPE, text=True)

    both = [begin() for _ in range(2)]
    said = {process.communicate(timeout=200)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    files = {path: path.stat().st_ino for path in tmp_path.rglob("*.bin")}
    assert files
    for more in ({}, {programs.SWITCH: "0"}):
        process = begin(**more)
        said.add(process.communicate(timeout=200)[0])
        assert process.returncode == 0
    assert len(said) == 1
    assert files == {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
