"""`train`: real sets, textbook sets and files; everything is refused before the work where it can be."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import backend_class
from bpengine.extras import install_command
from bpengine.system import hardware
from bpengine.system.blas_pool import BLAS_POOL


def trained(cli, *args):
    ended = cli("train", *args, "--json")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


@pytest.fixture
def people(tmp_path):
    """Write a table whose class is text that the first column decides."""
    rng = np.random.default_rng(0)
    rows = [(a, b, "tall" if a > 0 else "short") for a, b in rng.normal(size=(200, 2))]
    path = tmp_path / "people.csv"
    path.write_text("height,weight,kind\n" + "".join(f"{a:.5f},{b:.5f},{kind}\n" for a, b, kind in rows))
    return path


def test_train_learns_the_digits(cli):
    report = trained(cli, "digits", "--epochs", "30", "--batch-size", "32")
    assert (report["rows"], report["held_out_rows"], report["scores_on"]) == (1438, 359, "held-out rows")
    assert report["network"] == [64, 64, 32, 10]
    assert report["loss"] == "softmax_cross_entropy"
    assert report["scores"]["accuracy"] > 0.95
    assert report["steps"] == 30 * 45
    assert report["saved"] is None


@pytest.mark.parametrize(("options", "used"), [((), set()), (("--threads", "1"), {1})], ids=["default", "one"])
def test_matrix_products_take_the_threads_asked_for(cli, monkeypatch, options, used):
    asked, limited = set(), BLAS_POOL.limited

    def noted(threads):
        asked.add(threads)
        return limited(threads)

    monkeypatch.setattr(BLAS_POOL, "limited", noted)
    assert trained(cli, "iris", "--epochs", "2", *options)["epochs"] == 2
    assert asked == used


def test_threads_of_another_backend_are_refused(mistake):
    if not backend_class("jax").availability().ready:
        assert "cannot run here" in mistake("train", "iris", "--backend", "jax")
        return
    assert "'jax' cannot set its threads, got threads=1" in mistake("train", "iris", "--backend", "jax", "--threads", 1)
    assert "--threads" in mistake("train", "iris", "--threads", "0")


def test_xor_is_learned(cli):
    args = ("--test-fraction", "0", "--activation", "tanh", "--layers", "8", "--learning-rate", "0.05")
    report = trained(cli, "xor", *args, "--epochs", "500")
    assert (report["loss"], report["scores_on"], report["batch_size"]) == ("mean_squared_error", "training rows", 4)
    assert report["scores"]["rmse"] < 0.01


def test_dosage_is_learned(cli):
    args = ("--test-fraction", "0", "--activation", "softplus", "--layers", "8", "--learning-rate", "0.05")
    assert trained(cli, "dosage", *args, "--epochs", "1000")["scores"]["rmse"] < 0.05


def test_train_prints_data_network_columns_and_scores(cli, tmp_path):
    ended = cli("train", "iris", "--layers", "", "--epochs", "2", "--out", tmp_path / "m.safetensors")
    lines = dict(line.split("  ", 1) for line in ended.out.splitlines() if "  " in line)
    assert lines["data"].strip() == "iris: 4 features"
    assert lines["network"].strip() == "4-3, 15 parameters, softmax_cross_entropy"
    assert lines["sepal length (cm)"].split()[:2] == ["number", "standardised:"]
    assert "120 rows to train on, 30 held out to test (drawn with seed 0, every class in its share)" in ended.out
    assert ended.out.count("120 rows to") == ended.out.count("30 held out") == 1  # said once
    assert "accuracy of always saying setosa" in ended.out
    assert (tmp_path / "m.safetensors").exists()


def test_the_same_seed_gives_the_same_scores(cli):
    first, again, other = (
        trained(cli, "iris", "--epochs", "3", "--seed", seed, "--dropout", "0.2") for seed in (1, 1, 2)
    )
    assert first["scores"] == again["scores"] != other["scores"]


def test_options_reach_the_engine(cli, tmp_path):
    out = tmp_path / "m.safetensors"
    args = ("--layers", "5,4", "--activation", "tanh", "--dropout", "0.1", "--l2", "0.01", "--dtype", "float64")
    report = trained(cli, "iris", *args, "--epochs", "2", "--clip-norm", "1", "--optimizer", "nesterov", "--out", out)
    expected = bp.Network(
        4,
        [bp.Dense(5, "tanh"), bp.Dropout(0.1), bp.Dense(4, "tanh"), bp.Dropout(0.1), bp.Dense(3)],
        "softmax_cross_entropy",
        bp.L2(0.01),
    )
    assert bp.load(out).network == expected
    assert (report["dtype"], report["saved"]) == ("float64", str(out))


def test_patience_ends_the_run_early(cli):
    report = trained(cli, "iris", "--epochs", "5000", "--learning-rate", "0.05", "--patience", "3")
    assert report["epochs"] < 5000
    assert (report["held_out_rows"], report["validation_rows"]) == (30, 15)
    assert report["best_epoch"] == report["epochs"] - 3
    assert report["stopped_by"] == "no improvement on validation data for 3 epochs"


@pytest.mark.parametrize("loss", ["sigmoid_cross_entropy", "binary_cross_entropy"])
def test_two_classes_are_learned_with_a_loss_on_yes_or_no(cli, loss):
    report = trained(cli, "breast_cancer", "--loss", loss, "--epochs", "40")
    assert report["outputs"] == 1
    assert report["scores"]["accuracy"] > 0.9


def test_network_that_ends_in_probabilities_is_trained(cli):
    report = trained(cli, "iris", "--loss", "categorical_cross_entropy", "--epochs", "60", "--learning-rate", "0.01")
    assert report["scores"]["accuracy"] > 0.8


def test_target_of_a_table_is_chosen_by_name(cli, people):
    report = trained(cli, people, "--target", "kind", "--epochs", "100", "--learning-rate", "0.01")
    assert (report["task"], report["class_names"], report["features"]) == ("classification", ["short", "tall"], 2)
    assert report["scores"]["accuracy"] > 0.9


def test_a_loss_on_values_makes_whole_numbers_values(cli, tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("x,count\n" + "".join(f"{i * i % 7 + 0.5},{i % 3}\n" for i in range(30)))
    assert trained(cli, path, "--epochs", "1")["task"] == "classification"
    assert trained(cli, path, "--epochs", "1", "--loss", "huber")["task"] == "regression"
    assert trained(cli, path, "--epochs", "1", "--target", "0", "--loss", "huber")["features"] == 1


def test_mapped_files_are_trained_without_a_copy(cli, tmp_path, monkeypatch):
    x, y = bp.data.write("blobs", 5000, tmp_path)
    monkeypatch.setattr(hardware, "memory", lambda: {"total": 1000, "available": 1000})
    report = trained(cli, x, "--target", y, "--test-fraction", "0", "--epochs", "1")
    assert (report["rows"], report["held_out_rows"]) == (5000, 0)


def test_rows_too_many_for_memory_are_encoded_into_a_file(cli, tmp_path, monkeypatch):
    x, y = bp.data.write("blobs", 5000, tmp_path)
    usual = trained(cli, x, "--target", y, "--epochs", "2")
    monkeypatch.setattr("bpengine.data.features.shared_file.IN_MEMORY", 1000)
    assert trained(cli, x, "--target", y, "--epochs", "2")["scores"] == usual["scores"]


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(bp.Model, "fit", lambda *_, **__: pytest.fail("trained before the check"))
    monkeypatch.setattr(bp.data, "load", lambda *_, **__: pytest.fail("loaded before the check"))


@pytest.mark.usefixtures("no_training")
def test_output_options_are_checked_before_training(mistake, tmp_path):
    file = tmp_path / "m.safetensors"
    file.write_text("precious")
    assert "exists already" in mistake("train", "iris", "--out", file)
    assert "got the folder" in mistake("train", "iris", "--out", tmp_path, "--force")
    assert "there is no folder" in mistake("train", "iris", "--out", tmp_path / "missing" / "m.safetensors")
    assert "there is no folder" in mistake("train", "iris", "--out", file / "m.safetensors")
    assert "name too long" in mistake("train", "iris", "--out", tmp_path / ("m" * 300)).lower()
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("no_training")
def test_figure_options_are_checked_before_training(mistake, tmp_path, monkeypatch):
    file = tmp_path / "loss.svg"
    file.write_text("precious")
    assert "exists already. Choose another --figure, or pass --force" in mistake("train", "iris", "--figure", file)
    assert "unknown figure format 'gif'" in mistake("train", "iris", "--figure", tmp_path / "loss.gif")
    assert "there is no folder" in mistake("train", "iris", "--figure", tmp_path / "missing" / "loss.svg")
    both = ("--figure", tmp_path / "a.svg", "--out", tmp_path / "a.svg")
    assert "require two files" in mistake("train", "iris", *both)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert install_command("plot") in mistake("train", "iris", "--figure", file, "--force")
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


def test_the_loss_is_drawn(cli, tmp_path):
    file = tmp_path / "loss.svg"
    report = trained(cli, "iris", "--epochs", "3", "--figure", file)
    assert report["figure"] == str(file)
    assert "Loss while training" in file.read_text(encoding="utf-8")
    file.write_text("old")
    ended = cli("train", "iris", "--epochs", "2", "--figure", file, "--force")
    assert ["figure", str(file)] in [line.split() for line in ended.out.splitlines()]
    assert "stopped after 2 steps by: limit of 2 epochs" in file.read_text(encoding="utf-8")


def test_force_overwrites(cli, tmp_path):
    file = tmp_path / "m.safetensors"
    file.write_text("old")
    trained(cli, "iris", "--epochs", "1", "--out", file, "--force")
    assert bp.load(file).network.inputs == 4


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--layers", "a,b"], "--layers requires whole numbers separated by commas, such as 64,32, got 'a,b'."),
        (["--layers", "0"], "number of units"),
        (["--layers", "4,-1"], "number of units"),
        (["--activation", "rleu"], "unknown activation 'rleu'. Did you mean 'relu'"),
        (["--activation", "step"], "kernel 'step' has no backward"),
        (["--loss", "softmax"], "unknown loss 'softmax'. Did you mean 'softmax_cross_entropy'"),
        (["--loss", "huber"], "y requires shape (rows, 3)"),
        (["--backend", "nunpy"], "unknown backend 'nunpy'. Did you mean 'numpy'"),
        (["--dtype", "float23"], "unknown dtype 'float23'"),
        (["--optimizer", "adma"], "unknown optimizer 'adma'. Did you mean 'adam'"),
        (["--learning-rate", "-1"], "requires a learning rate of at least 0, got -1.0"),
        (["--test-fraction", "1"], "--test requires a share of the rows of at least 0 and below 1"),
        (["--dropout", "1"], "Dropout requires"),
        (["--dropout", "0.1", "--layers", ""], "requires hidden layers"),
        (["--l2", "-1"], "L2 requires"),
        (["--clip-norm", "0"], "clip_norm"),
        (
            ["--patience", "3", "--validation", "0"],
            "--early-stopping requires rows to validate with, got --validation 0",
        ),
        (["--target", "a"], "unknown option of data set 'iris': 'target'"),
        (["--learning-rate", "1e30", "--optimizer", "sgd"], "training requires a finite loss"),
    ],
)
def test_invalid_options_of_train_are_refused(mistake, args, text):
    assert text in mistake("train", "iris", *args)


def test_invalid_data_for_train_is_refused(mistake, people, tmp_path):
    assert "no.csv' does not exist" in mistake("train", "no.csv")
    too_few = mistake("train", "dosage", "--test-fraction", "0.1")
    assert "--test 0 holds none out" in too_few
    validation = mistake("train", "dosage", "--test", "0", "--validation", "0.1")
    assert "Name other rows with --validation: a share, or a file." in validation
    assert "test_fraction" not in too_few + validation  # a name of Python's side
    assert "unknown target column" in mistake("train", people, "--target", "knid")
    (tmp_path / "holes.csv").write_text("a,b\n1,2\n,3\n4,5\n")
    said = mistake("train", tmp_path / "holes.csv", "--missing", "refuse", "--test", "0")
    assert "missing value in row 1, column 'a'" in said
    assert "--missing fill" in said
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    assert "requires targets" in mistake("train", tmp_path / "x.npy")


@pytest.mark.parametrize(("steps", "text"), [(7, "the model as it was then is saved"), (0, "nothing was saved")])
def test_an_interrupted_fit_keeps_what_it_has(cli, tmp_path, monkeypatch, steps, text):
    stopped = bp.History(loss=np.ones(steps), stopped_by="interrupted")
    monkeypatch.setattr(bp.Model, "fit", lambda *_, **__: stopped)
    out = tmp_path / "m.safetensors"
    ended = cli("train", "iris", "--out", out)
    assert (ended.code, ended.out) == (130, "")
    assert f"bpengine: interrupted after {steps} steps; {text}" in ended.err
    assert out.exists() == bool(steps)


def test_an_interrupted_fit_draws_what_it_has(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(bp.Model, "fit", lambda *_, **__: bp.History(loss=np.ones(7), stopped_by="interrupted"))
    ended = cli("train", "iris", "--figure", tmp_path / "loss.svg")
    assert f"interrupted after 7 steps; its loss is drawn in {tmp_path / 'loss.svg'}." in ended.err
    assert (tmp_path / "loss.svg").exists()


@pytest.mark.skipif(os.name != "posix", reason="POSIX has devices and named pipes as files")
@pytest.mark.usefixtures("no_training")
def test_outputs_that_are_no_files_are_refused_before_training(mistake, tmp_path):
    os.mkfifo(tmp_path / "pipe.svg")
    os.mkfifo(tmp_path / "pipe.csv")
    devices = [Path(os.devnull), tmp_path / "pipe.svg"]
    for device in devices:
        before = device.stat()
        for option in ("--out", "--figure") if device.suffix else ("--out",):
            said = mistake("train", "iris", option, device, "--force")
            assert "Nothing was changed" in said
            assert "to keep nothing, ask for no file" in said
        assert (device.stat().st_mode, device.stat().st_ino) == (before.st_mode, before.st_ino)
    assert "named pipe" in mistake("explain", "2-3-1", "--data", "xor", "--html", tmp_path / "pipe.csv", "--force")
