"""`doctor`: every field is there, as text and as JSON, and a forced BLAS kernel is found out and measured."""

import json
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import Availability, CacheState, backend_class
from bpengine.cli import backend_status
from bpengine.cli.commands import installed_packages
from bpengine.extras import install_command
from bpengine.system import blas as blas_module
from bpengine.system import blas_overrides, busy, hardware
from tests.cli.conftest import process

FORCING = (*blas_overrides.VARIABLES, *hardware.THREAD_LIMITS)


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in FORCING:
        monkeypatch.delenv(name, raising=False)


def cost_of(forced, kernel, own_kernel, seconds, own_seconds, failure=None):
    return blas_overrides.OverrideCost(
        forced=forced,
        kernel=kernel,
        own_kernel=own_kernel,
        seconds=seconds,
        own_seconds=own_seconds,
        failure=failure,
    )


@pytest.fixture
def blas():
    """Give what is known of BLAS."""
    return blas_module.library()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Simulate an idle machine."""
    monkeypatch.setattr(busy, "load", lambda: 0.1)


def of_itself(printed):
    """Return the warnings of a new process, without those about the machine's load."""
    return [warning for warning in printed["warnings"] if "the cores had other work" not in warning]


def test_a_busy_machine_is_a_warning_with_the_cure(cli, monkeypatch):
    monkeypatch.setattr(busy, "load", lambda: 1.25)
    monkeypatch.setattr(
        blas_module, "library", lambda: {**dict.fromkeys(("name", "version", "kernel", "file")), "threads": 2}
    )
    printed = json.loads(cli("doctor", "--json").out)
    (warning,) = printed["warnings"]
    assert printed["load"] == 1.25
    assert "matrix products in 2 threads then wait for each other" in warning
    assert "Cure: OPENBLAS_NUM_THREADS=1" in warning


def test_doctor_reports_backends_libraries_and_machine_as_json():
    ended = process("doctor", "--json")
    printed = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert set(printed["backends"]) == set(bp.backend_names())
    numpy = printed["backends"]["numpy"]
    assert numpy.pop("detail").split(", ")[0] == f"NumPy {np.__version__}"  # and what compiles its epochs, if anything
    assert numpy == {"ready": True, "reason": "ready", "cure": ""}
    assert printed["libraries"]["numpy"] == np.__version__
    assert set(printed["extras"]) == set(installed_packages.EXTRAS)
    assert printed["cpu"]["cores"] >= printed["cpu"]["usable"] >= 1
    assert printed["memory"]["total"] > printed["memory"]["available"] > 0
    assert (printed["forced"], printed["thread_limits"], of_itself(printed)) == (None, {}, [])
    assert printed["load"] is None or printed["load"] >= 0
    assert all(state["ready"] or state["detail"] for state in printed["backends"].values())


@pytest.mark.parametrize("width", ["80", "120"])
def test_doctor_prints_backends_and_machine_within_the_terminal_width(cli, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    ended = cli("doctor")
    assert (ended.code, ended.err) == (0, "")
    for word in ("Backends", "Machine", "CPU", "memory", "BLAS kernel", "thread limits", "No warnings."):
        assert word in ended.out
    assert all(name in ended.out for name in bp.backend_names())
    assert max(map(len, ended.out.splitlines())) <= int(width)


def test_every_package_has_its_version_or_its_cure(cli, monkeypatch):
    def version(name):
        if name in ("pandas", "narwhals", "onnxruntime"):
            raise PackageNotFoundError(name)
        return "7.8.9"

    monkeypatch.setattr(installed_packages, "version", version)
    monkeypatch.setenv("COLUMNS", "200")
    printed = cli("doctor").out
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in printed.splitlines() if line.startswith("  ")}
    assert lines["tables"] == "pandas is not installed, pyarrow 7.8.9, narwhals is not installed"
    assert printed.count(install_command("tables")) == 1
    assert printed.count("pip install onnxruntime") == 1
    assert lines["sklearn"] == "scikit-learn 7.8.9, scipy 7.8.9"
    assert install_command("sklearn") not in printed
    libraries = installed_packages.versions()
    extras = installed_packages.extras(libraries)
    assert extras["tables"] == {
        "installed": False, "missing": ["pandas", "narwhals"], "cure": install_command("tables"),
    }  # fmt: skip
    assert extras["onnx"] == {"installed": True, "missing": [], "cure": ""}
    assert {"pandas", "pyarrow", "scikit-learn", "onnx", "onnxruntime", "safetensors"} <= set(libraries)


def test_the_packages_of_every_extra_are_listed():
    declared = tomllib.loads((Path(bp.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    assert set(installed_packages.EXTRAS) == set(extras) - {
        "test",
        "docs",
        "smoke",
        "parquet",
    }  # tools of the project; an earlier name
    for extra, packages in installed_packages.EXTRAS.items():
        named = {re.split(r"[<>=\[; ]", line)[0].replace("cupy-cuda13x", "cupy") for line in extras[extra]}
        assert named - {"bpengine"} <= set(packages), extra


def test_a_thread_limit_is_a_warning(cli, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(hardware, "cpu", lambda: {"model": "a", "cores": 4, "usable": 4})
    (warning,) = json.loads(cli("doctor", "--json").out)["warnings"]
    assert (
        warning == "OMP_NUM_THREADS=1 keeps libraries to 1 of 4 cores. Cure, unless it is meant: unset OMP_NUM_THREADS"
    )


def test_a_forced_kernel_is_a_warning_with_its_cost(blas):
    other = "Prescott" if blas["kernel"] != "Prescott" else "Nehalem"
    printed = json.loads(process("doctor", "--json", OPENBLAS_CORETYPE=other).out)
    assert printed["forced"]["variables"] == {"OPENBLAS_CORETYPE": other}
    if "openblas" in str(blas["name"]) and sys.platform == "linux":
        (warning,) = of_itself(printed)
        assert f"OPENBLAS_CORETYPE={other}" in warning
        assert "Cure: unset OPENBLAS_CORETYPE" in warning
        assert f"this CPU's own is {blas['kernel']}" in warning or printed["forced"]["failure"]


def test_forcing_what_is_chosen_anyway_is_no_warning():
    cost = cost_of({"OPENBLAS_CORETYPE": "Haswell"}, "Haswell", "Haswell", 1.0, 1.0)
    assert cost.harmless
    assert not cost_of({"OPENBLAS_L2_SIZE": "1"}, "Haswell", "Haswell", 1.0, 1.0).harmless


def test_cost_is_stated_in_words():
    forced = {"OPENBLAS_CORETYPE": "Prescott"}
    slow = cost_of(forced, "Prescott", "Zen", 0.004, 0.001)
    assert slow.warning() == (
        "OPENBLAS_CORETYPE=Prescott (kernel Prescott; this CPU's own is Zen): a float32 matrix product takes 4.00 times "
        "as long (4.00 ms, 1.00 ms without). Cure: unset OPENBLAS_CORETYPE"
    )
    assert "no noticeable cost" in cost_of(forced, "Prescott", "Zen", 0.001, 0.001).warning()
    crashed = cost_of(forced, None, "Zen", None, 0.001, "the process is ended by SIGILL")
    assert "makes matrix products fail: the process is ended by SIGILL" in crashed.warning()
    assert "could not be measured" in cost_of(forced, None, None, None, None).warning()


def test_a_process_that_fails_is_described(monkeypatch):
    monkeypatch.setattr(blas_overrides, "sys", type("", (), {"executable": "false"}))
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "64")
    cost = blas_overrides.cost()
    assert cost.failure == "no message"
    assert cost.ratio is None


def test_the_blas_of_numpy_is_the_loaded_one(blas):
    assert blas["name"]
    if "openblas" in str(blas["name"]) and sys.platform == "linux":
        assert blas["threads"] >= 1
        assert blas["kernel"]
        assert blas["file"] in Path("/proc/self/maps").read_text()


def test_unknown_facts_of_a_blas_are_shown_as_unknown(cli, monkeypatch):
    """A BLAS that threadpoolctl does not know, such as Accelerate."""
    monkeypatch.setattr(
        blas_module, "threadpool_info", lambda: [{"user_api": "openmp", "num_threads": 3, "filepath": "x"}]
    )
    known = blas_module.library()
    assert (known["kernel"], known["threads"], known["file"]) == (None, None, None)
    assert "unknown, unknown threads" in cli("doctor").out


def test_a_broken_plug_in_breaks_nothing(monkeypatch, cli):
    def fail(name):
        raise ImportError("no such symbol")

    monkeypatch.setattr(backend_status, "backend_class", fail)
    assert "the plug-in cannot be imported: no such symbol" in backend_status.availability("numpy").detail
    assert cli("doctor").code == 1


def test_the_exit_code_follows_numpy(monkeypatch, cli):
    state = Availability("no device", "gone.", "None.")
    monkeypatch.setattr(backend_class("cupy"), "availability", classmethod(lambda cls: state))
    assert cli("doctor").code == 0
    monkeypatch.setattr(backend_class("numpy"), "availability", classmethod(lambda cls: state))
    assert cli("doctor").code == 1


class FakeCache:
    """A backend's cache with three files, which can be removed unless `trouble` says why not."""

    def __init__(self, trouble=""):
        self.trouble, self.files = trouble, 3

    def state(self):
        notes = (("threads", "one: the self-test failed"),)
        return CacheState(
            folder="/some/folder",
            files=self.files,
            size=5 << 20,
            limit=256 << 20,
            trouble=self.trouble,
            cure="Make it so.",
            notes=notes,
        )

    def clear(self):
        if self.trouble:
            raise OSError(self.trouble)
        self.files = 0
        return 3


@pytest.fixture
def cached(monkeypatch):
    """Give the NumPy backend a cache, and the others none."""

    def give(cache):
        monkeypatch.setattr(backend_status, "caches", lambda: {"numpy": cache})

    return give


def test_caches_are_shown(cli, cached):
    cached(FakeCache())
    ended = cli("doctor", "--json")
    (cache,) = json.loads(ended.out)["caches"].values()
    assert (cache["folder"], cache["files"], cache["size"], cache["trouble"]) == ("/some/folder", 3, 5 << 20, "")
    assert "cleared" not in json.loads(ended.out)
    text = " ".join(cli("doctor").out.split())
    assert "3 files, 5.0 of at most 256 MiB, can be written: /some/folder" in text
    assert "threads one: the self-test failed" in text


def test_caches_are_emptied_when_that_is_asked_for(cli, cached):
    cached(FakeCache())
    assert "numpy, removed 3 files" in " ".join(cli("doctor", "--clear-cache").out.split())
    printed = json.loads(cli("doctor", "--clear-cache", "--json").out)
    assert printed["cleared"] == [{"backend": "numpy", "folder": "/some/folder", "files": 3, "trouble": ""}]
    assert printed["caches"]["numpy"]["files"] == 0


def test_a_cache_that_cannot_be_written_is_a_warning_with_its_cure_and_clearing_it_fails(cli, cached):
    cached(FakeCache("Read-only file system"))
    ended = cli("doctor", "--json")
    (warning,) = json.loads(ended.out)["warnings"]
    assert "every process compiles it again: Read-only file system. Cure: Make it so." in warning
    assert ended.code == 0
    ended = cli("doctor", "--clear-cache")
    assert ended.code == 1
    assert "not all: Read-only file system" in " ".join(ended.out.split())


def test_the_caches_of_the_backends_are_found():
    if find_spec("llvmlite"):
        assert backend_status.caches()["numpy"].state().limit > 0
