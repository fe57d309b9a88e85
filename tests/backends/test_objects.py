"""Object code: built once, checked before it is loaded, made again when it is damaged, shared by settings and batch sizes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from bpengine_numpy.llvm_target import compiled_step, interpreter
from bpengine_numpy.llvm_target.object_code import llvm_build, loop_cache
from bpengine_steps.disk import Cache
from bpengine_steps.signature import Signature

import bpengine as bp
from tests.attacks import caches

ADD_ONE = """
define void @bp_add_one(ptr %p) {
  %number = load i64, ptr %p
  %more = add i64 %number, 1
  store i64 %more, ptr %p
  ret void
}
"""


class Fresh:
    """A process's first use of object code, over and over: nothing loaded, an engine of its own, `built` texts so far."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Cache) -> None:
        self.built: list[str] = []
        self._patch, self._engine, self._build = monkeypatch, loop_cache._engine.__wrapped__, loop_cache.build
        monkeypatch.setattr(loop_cache, "store", lambda: store)
        monkeypatch.setattr(loop_cache, "build", self.build)
        self.again()

    def build(self, source: str, prefix: str) -> Any:
        self.built.append(source)
        return self._build(source, prefix)

    def again(self) -> None:
        """Forget what is loaded."""
        self._patch.setattr(loop_cache, "_loaded", {})
        self._patch.setattr(loop_cache, "_engine", cache(self._engine))

    def call(self, source: str = ADD_ONE) -> int:
        """Run the function on 41."""
        self.again()
        number = np.array([41], np.int64)
        (address,) = loop_cache.addresses(source)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(number.ctypes.data)
        return int(number[0])


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "loops")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, store: Cache) -> Fresh:
    return Fresh(monkeypatch, store)


def test_code_is_built_once_and_found_again(fresh: Fresh) -> None:
    assert not loop_cache.on_disk(ADD_ONE)
    assert [fresh.call(), fresh.call(), fresh.call()] == [42, 42, 42]
    assert fresh.built == [ADD_ONE]
    assert loop_cache.on_disk(ADD_ONE)


def test_code_that_is_damaged_anywhere_is_built_again_and_replaced(
    fresh: Fresh, store: Cache, rng: np.random.Generator
) -> None:
    fresh.call()
    path = store.path(loop_cache.key_of(ADD_ONE))
    assert path is not None
    whole = path.read_bytes()
    regions = [0, 8, 40, 48, 80, 88, *(int(place) for place in np.linspace(100, len(whole) - 1, 4))]
    for n, start in enumerate(regions, 1):  # each field of both headers, the names, the machine code
        damaged = bytearray(whole)
        damaged[min(start + int(rng.integers(8)), len(whole) - 1)] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert fresh.call() == 42
        assert len(fresh.built) == 1 + n
        assert path.read_bytes() == whole
    path.write_bytes(whole[:-1])
    assert fresh.call() == 42
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "changed", ["llvmlite", "numpy", "get_host_cpu_name", "get_host_cpu_features", "python", "FORMAT"]
)
def test_code_of_other_versions_processors_and_settings_is_not_taken(
    changed: str, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.call()
    monkeypatch.setattr(loop_cache, "_surroundings", loop_cache._surroundings.__wrapped__)
    assert loop_cache.on_disk(ADD_ONE)
    if changed in ("llvmlite", "numpy"):
        monkeypatch.setattr(import_module(changed), "__version__", "9")
    elif changed == "get_host_cpu_name":
        monkeypatch.setattr(llvm, changed, lambda: "another")
    elif changed == "get_host_cpu_features":
        monkeypatch.setattr(loop_cache, "features", lambda: "-avx")
    elif changed == "python":
        monkeypatch.setattr(loop_cache.platform, "python_version", lambda: "3.99.0")
    else:
        monkeypatch.setattr(loop_cache, changed, loop_cache.FORMAT + 1)
    fresh.again()
    assert not loop_cache.on_disk(ADD_ONE)


def test_a_folder_that_cannot_be_written_is_told_and_code_is_compiled_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    fresh = Fresh(monkeypatch, Cache(tmp_path / "file" / "loops"))
    with pytest.warns(UserWarning, match=r"file.loops.*Make the folder writable"):
        assert fresh.call() == 42
    assert fresh.call() == 42
    assert len(fresh.built) == 2


def test_eight_threads_with_a_cold_cache_compile_once(fresh: Fresh) -> None:
    with ThreadPoolExecutor(8) as threads:
        addresses = set(threads.map(loop_cache.addresses, [ADD_ONE] * 8))
    assert len(addresses) == len(fresh.built) == 1


def test_lock_of_another_thread_does_not_block_a_forked_process() -> None:
    with loop_cache.one_at_a_time("key"):
        loop_cache._unlock()
        with loop_cache.one_at_a_time("key"):
            pass


def test_code_with_an_unknown_symbol_is_not_loaded(fresh: Fresh) -> None:
    code = llvm_build.build(ADD_ONE, "bpengine_test")
    assert loop_cache._load(code._replace(needs=("bpengine_no_such_function",))) is None
    assert loop_cache._load(code) is not None


def test_object_code_lists_the_symbols_it_needs() -> None:
    """Code without external symbols loads in any process on the same processor."""
    code = llvm_build.build(interpreter.text(), "bpengine_test")
    assert len(code.symbols) == len(interpreter.Functions._fields)
    assert code.needs == ()
    fill = "define void @bp_fill(ptr %p) {\n  call void @clock()\n  ret void\n}\ndeclare void @clock()\n"
    assert llvm_build.build(fill, "bpengine_test").needs == ("clock",)


@pytest.mark.parametrize("source", ["define void @bp_f(ptr %p) {", "define void @bp_f(ptr %p) {\n  ret i64 0\n}"])
def test_invalid_llvm_text_is_refused_and_not_stored(source: str, fresh: Fresh, store: Cache) -> None:
    with pytest.raises(RuntimeError, match="LLVM"):
        loop_cache.addresses(source)
    assert not store.state().files


def loops_of(rate: float, batch: int, penalty: float, momentum: float = 0.9) -> set[str]:
    """Return the texts of all loops of a fit."""
    sources: set[str] = set()

    class Recording(NumpyBackend):
        def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
            program = compiled_step(step, state, Signature.of(state, data, order, lr))
            sources.update(loop.source for loop in program.loops.values())
            return super().run_epoch(step, state, data, order, lr)

    layers = [bp.Dense(5, "relu"), bp.Dropout(rate), bp.BatchNorm(), bp.Dense(2)]
    net = bp.Network(3, layers, "mean_squared_error", [bp.L2(penalty)])
    draw = np.random.default_rng(0)
    model = bp.Model(net, Recording(), seed=1)
    model.fit(
        draw.normal(size=(120, 3)),
        draw.normal(size=(120, 2)),
        batch_size=batch,
        epochs=1,
        optimizer=bp.training.Momentum(momentum=momentum),
    )
    return sources


def test_rate_batch_and_penalty_are_no_part_of_the_code() -> None:
    known = loops_of(0.1, 40, 0.01)
    assert len(known) > 5
    assert loops_of(0.3, 40, 0.01) == known
    assert loops_of(0.1, 24, 0.01) == known
    assert loops_of(0.1, 40, 0.002) == known
    assert loops_of(0.25, 30, 0.02, 0.8) == known


TRAIN = """
import sys
import bpengine_numpy, numpy as np
import bpengine as bp
bpengine_numpy.NumpyBackend.patience = float("-inf")
model = bp.Model(bp.Network(2, [bp.Dense(2, "relu"), bp.Dense(1)], "mean_squared_error"), seed=1)
started = []
sys.addaudithook(lambda event, given: started.append(event) if event in ("subprocess.Popen", "os.posix_spawn") else None)
from bpengine_numpy.llvm_target.object_code import loop_cache
built, build = [], loop_cache.build
loop_cache.build = lambda source, prefix: built.append(source) or build(source, prefix)
model.fit(np.ones((4, 2)), np.ones(4), epochs=2)
print(len(loop_cache._loaded) > 1, len(started) > 0, len(built) > 1, "numba" in sys.modules)
"""


def test_a_cold_cache_is_filled_where_warnings_are_errors_and_a_warm_one_needs_neither_compiler_nor_trial(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XDG_CACHE_HOME": str(tmp_path)}
    for expected in ("True True True False", "True False False False"):
        command = [sys.executable, "-W", "error", "-c", TRAIN]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr, ended.stdout.strip()) == (0, "", expected)


@pytest.mark.skipif(os.name != "posix", reason="caches are moved by XDG_CACHE_HOME")
def test_a_short_round_of_damaged_caches(rng: np.random.Generator) -> None:
    cases, failures = caches.attack(seconds=1.0, seed=int(rng.integers(2**31)))
    assert cases >= 1
    assert not failures, str(failures)


@pytest.mark.skipif(os.name != "posix", reason="caches are moved by XDG_CACHE_HOME")
def test_recorded_failures_stay_fixed() -> None:
    sound = caches.Sound() if caches.kept() else None
    assert [case for case in caches.kept() if sound and sound.problem(case)] == []


def test_a_case_of_damaged_caches_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "KEPT", tmp_path / "kept")
    case = caches.Case.of(3, 4)
    for _ in range(2):
        caches.keep([case])
    assert caches.kept() == [case]

    class Wrong(caches.Sound):
        def __init__(self) -> None:
            pass

        def problem(self, case: caches.Case) -> str | None:
            return "wrong" if 1 in case.damages else None

    assert caches.smaller(Wrong(), case._replace(damages=(0, 1, 2))).damages == (1,)


@pytest.mark.parametrize("way", caches.DAMAGES, ids=lambda way: way.__name__)
def test_damage_of_the_attack_is_always_detected(way: Any, store: Cache, rng: np.random.Generator) -> None:
    contents = [rng.bytes(3000), rng.bytes(200)]
    for _ in range(30):
        files = []
        for key, content in zip("ab", contents, strict=True):
            store.put(key, content)
            files.append(Path(str(store.path(key))))
        way(rng, *files)
        assert store.get("a") in (None, contents[0])


def test_locks_are_kept_only_while_they_are_needed() -> None:
    with loop_cache.one_at_a_time("a key"):
        assert loop_cache._locks["a key"].locked()
    assert "a key" not in loop_cache._locks
