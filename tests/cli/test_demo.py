"""`demo`: the numbers it prints are true, and it says what could not run and why."""

import re
import sys

from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.backend import Availability, backend_class
from bpengine.extras import install_command
from tests.cli.conftest import process
from tests.tolerances import agreement_rtol

ROWS = 1438  # the longest sum of a gradient is over the training rows


def cells(out):
    """Return the cells of each row of the table, by backend."""
    table = out.partition("\n\n")[0].splitlines()[2:]
    return {row.split()[0]: re.split(r"\s{2,}", row.strip())[1:] for row in table}


def test_demo_prints_measured_numbers():
    ended = process("demo", "--backends", "numpy,jax")
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    table = cells(ended.out)
    numpy, jax = (float(table[name][1]) for name in ("numpy", "jax"))
    assert min(numpy, jax) >= 0.97
    assert abs(numpy - jax) <= 0.005
    assert table["numpy"][3] == "reference"
    limit = agreement_rtol("float32", ROWS)
    assert all(float(table[name][4]) < limit for name in table)
    assert float(table["jax"][3]) < limit
    assert all(int(row[2].replace(",", "")) > 100 for row in table.values())


def test_a_backend_that_cannot_run_is_listed_with_the_cure(cli, monkeypatch):
    state = Availability("no driver", "there is no driver.", "Install one.")
    monkeypatch.setattr(backend_class("cupy"), "availability", classmethod(lambda cls: state))
    ended = cli("demo", "--epochs", "1", "--backends", "numpy, cupy")
    assert ended.code == 0
    assert cells(ended.out)["cupy"] == ["no driver", "-", "-", "-", "-"]
    assert "cupy  there is no driver. Install one." in ended.out


def test_an_interrupted_fit_ends_the_demo(cli, monkeypatch):
    monkeypatch.setattr(bp.Model, "fit", lambda *_, **__: bp.History(stopped_by="interrupted"))
    assert cli("demo", "--backends", "numpy") == (130, "", "bpengine: interrupted.\n")


def test_demo_without_jax_runs_the_other_backends(cli, monkeypatch):
    state = Availability("not installed", "the package 'jax' is not installed.", "Install it.")
    monkeypatch.setattr(backend_class("jax"), "availability", classmethod(lambda cls: state))
    ended = cli("demo", "--epochs", "1", "--backends", "numpy")
    assert cells(ended.out)["numpy"][-1] == "-"
    assert "autodiff  the autodiff oracle needs JAX (not installed)" in ended.out


def test_the_columns_are_explained(cli):
    out = cli("demo", "--epochs", "1", "--backends", "numpy").out
    explained = [line.split("  ")[0] for line in out.rpartition("\n\n")[2].splitlines() if line[0] != " "]
    assert explained == ["test accuracy", "samples/s", "vs NumPy", "vs autodiff"]


def test_invalid_options_of_demo_are_refused(mistake, monkeypatch):
    assert "unknown backend 'nunpy'. Did you mean 'numpy'" in mistake("demo", "--backends", "nunpy")
    assert "'--epochs'" in mistake("demo", "--epochs", "0")
    state = Availability("not installed", "it is not installed.", "Install it.")
    monkeypatch.setattr(backend_class("cupy"), "availability", classmethod(lambda cls: state))
    assert "backend 'cupy' cannot run here (not installed)" in mistake("demo", "--backends", "cupy")


def test_demo_without_scikit_learn_draws_its_own_rows(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    ended = cli("demo", "--epochs", "20", "--backends", "numpy")
    assert (ended.code, ended.err) == (0, "")
    assert float(cells(ended.out)["numpy"][1]) >= 0.97
    assert "digits" not in cells(ended.out)
    assert "360 held-out points on two circles" in ended.out
    assert install_command("sklearn") in " ".join(ended.out.split())


def test_a_step_is_compiled_before_its_first_run(cli, monkeypatch):
    """Otherwise a machine's first demo measures steps that wait for the compiler."""
    eager, real = [], NumpyBackend._run_eagerly
    monkeypatch.setattr(
        NumpyBackend, "_run_eagerly", lambda *args, **options: eager.append(1) or real(*args, **options)
    )
    assert cli("demo", "--epochs", "1", "--backends", "numpy").code == 0
    assert not eager
