"""A model keeps how its training file was read, and files for it are read so unless they plainly are written otherwise."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bpengine as bp
from bpengine.data.tables.kept_reading import checked, is_plainly_utf8, kept_of, option_texts
from bpengine.errors import DataError, ModelFileError
from tests.cli.conftest import cli, mistake

__all__ = ["cli", "mistake"]
pytestmark = pytest.mark.filterwarnings("always")  # lines on stderr, as outside tests
ROWS = 60
CITIES = ("Köln", "Ulm", "Bonn")
OPTIONS = ("--encoding", "latin-1", "--skiprows", "2", "--decimal", ",", "--na-values", "k.A.", "--thousands", ".")
KEPT = {"decimal": ",", "thousands": ".", "encoding": "latin-1", "skiprows": 2, "na_values": ["k.A."]}


def lines(sep: str, decimal: str, thousands: str, missing: str) -> list[str]:
    """Return the same table in another dialect, its names in the first line."""
    rows = [sep.join(("größe", "preis", "stadt", "ziel"))]
    for i in range(ROWS):
        size = missing if i % 7 == 3 else f"{(i * 37 % 50) / 4:.2f}".replace(".", decimal)
        price = f"{900 + i * 53:,}".replace(",", thousands)
        rows.append(sep.join((size, price, CITIES[i % 3], "ja" if i % 5 > 1 else "nein")))
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the table in several dialects."""
    folder = tmp_path_factory.mktemp("dialects")
    german = lines(";", ",", ".", "k.A.")
    (folder / "train.csv").write_text("\n".join(["Export", "von Hand", *german]) + "\n", encoding="latin-1")
    (folder / "utf8.csv").write_text("\n".join(["Export", "von Hand", *german]) + "\n", encoding="utf-8")
    (folder / "bare.csv").write_text("\n".join(german) + "\n", encoding="utf-8")
    (folder / "points.csv").write_text("\n".join(lines(";", ".", "", "k.A.")) + "\n", encoding="utf-8")
    (folder / "plain.csv").write_text("\n".join(lines(",", ".", "", "k.A.")) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """Give a model file that the command line trained on the German dialect."""
    from bpengine.cli.app import run

    saved = folder / "m.safetensors"
    how = ("--target", "ziel", *OPTIONS, "--epochs", "3", "--layers", "4", "--out", str(saved), "--json")
    assert run(["train", str(folder / "train.csv"), *how]) == 0
    return saved


def predicted(cli: Any, *args: object) -> tuple[np.ndarray[Any, Any], str]:
    ended = cli("predict", *args)
    assert ended.code == 0, ended.err
    table = list(csv.reader(io.StringIO(ended.out)))
    return np.array([[float(cell) for cell in row[2:]] for row in table[1:]]), ended.err


def test_the_options_stand_in_the_model_file(model: Path) -> None:
    features = bp.load(model).features
    assert features is not None
    assert features.reading == KEPT
    assert features.to_json()["reading"] == KEPT
    assert [c.described()[0] for c in features.columns] == ["number", "number", "category"]


@pytest.mark.parametrize("name", ["train.csv", "utf8.csv", "bare.csv", "points.csv", "plain.csv"])
def test_files_of_every_dialect_are_the_same_rows(name: str, model: Path, folder: Path, cli: Any) -> None:
    expected, _ = predicted(cli, model, folder / "train.csv", *OPTIONS)
    rows, said = predicted(cli, model, folder / name)
    np.testing.assert_array_equal(rows, expected)
    assert len(said.splitlines()) == 1
    other = name in ("bare.csv", "points.csv", "plain.csv")
    assert (
        "is not written as the training file was" if other else "is read as the training file was: --decimal"
    ) in said
    assert ("--encoding" in said) == (name == "train.csv")
    assert said.endswith("--na-values k.A. --decimal , --thousands .\n") == (name == "bare.csv")


def test_given_options_override_kept_ones(model: Path, folder: Path, cli: Any, mistake: Any) -> None:
    _, said = predicted(cli, model, folder / "train.csv", "--skiprows", "2", "--na-values", "k.A.")
    assert "--skiprows" not in said
    assert "--encoding latin-1" in said
    assert "utf-16" in mistake("predict", model, folder / "train.csv", "--encoding", "utf-16")


def test_standard_input_is_read_with_the_kept_options(
    model: Path, folder: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = predicted(cli, model, folder / "train.csv")
    piped = io.TextIOWrapper(io.BytesIO((folder / "train.csv").read_bytes()))
    monkeypatch.setattr("sys.stdin", piped)
    rows, said = predicted(cli, model, "-")
    np.testing.assert_array_equal(rows, expected)
    assert "standard input is read as the training file was" in said


def test_every_command_that_takes_a_model_reads_with_the_kept_options(model: Path, folder: Path, cli: Any) -> None:
    for args in (("predict", model, folder / "train.csv", "--evaluate"), ("check", model, folder / "train.csv", "--rows", "2"),
                 ("explain", model, folder / "train.csv", "--layer", "0", "--unit", "1")):  # fmt: skip
        ended = cli(*args)
        assert ended.code == 0, ended.err
        assert "is read as the training file was" in ended.err, args


def test_file_readable_with_neither_set_of_options_is_refused(model: Path, tmp_path: Path, cli: Any) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n3,4\n")
    ended = cli("predict", model, tmp_path / "other.csv")
    assert ended.code == 2
    assert "requires columns that are not there: 'größe', 'preis', 'stadt'. Not known: 'a', 'b'" in ended.err
    (tmp_path / "empty.csv").write_text("a,b\n")
    ended = cli("predict", model, tmp_path / "empty.csv")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "requires at least one row, got none behind the 2 that are skipped. (Read as" in ended.err


def test_a_file_of_another_format_is_read_as_it_is(model: Path, folder: Path, tmp_path: Path, cli: Any) -> None:
    people = bp.data.load(folder / "train.csv", **bp.load(model).features.reading)
    frame = {name: people.table[name] for name in people.table}
    columns = {n: [None if m else (c.text(i) if c.categories else float(c.values[i])) for i, m in enumerate(c.missing)]
               for n, c in frame.items()}  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    rows, said = predicted(cli, model, tmp_path / "t.parquet")
    assert said.endswith("t.parquet is read as the training file was: --na-values k.A.\n")
    np.testing.assert_array_equal(rows, predicted(cli, model, folder / "train.csv")[0])


def test_python_api_keeps_reading_options(folder: Path, tmp_path: Path) -> None:
    people = bp.data.load(folder / "train.csv", target="ziel", max_bytes=10**6, **KEPT)
    train, _ = people.split(0.25, seed=0)
    features = bp.Features().fit(train)
    assert features.reading == KEPT
    assert bp.Features().fit(train.table, train.labels).reading == {}
    network = bp.Network(features.inputs, [bp.Dense(features.outputs)], "softmax_cross_entropy")
    bp.Model(network, features=features).save(tmp_path / "m")
    kept = bp.load(tmp_path / "m").features.reading
    again = bp.data.load(folder / "train.csv", target="ziel", **kept)
    assert again.table["größe"].is_number
    np.testing.assert_array_equal(again.table["preis"].values, people.table["preis"].values)


def test_archives_and_scaled_bytes_keep_their_options(tmp_path: Path, cli: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)
    np.savez(tmp_path / "t.npz", x_train=x, y_train=y, x=x[:, :2], y=y)
    saved = tmp_path / "m.safetensors"
    assert cli("train", tmp_path / "t.npz", "--keys", "x_train,y_train", "--epochs", "2", "--out", saved).code == 0
    rows, said = predicted(cli, saved, tmp_path / "t.npz")
    assert rows.shape == (40, 2)
    assert "--keys x_train,y_train" in said
    assert kept_of({"scale": True, "mmap": False}) == {"scale": True}


def test_a_file_without_the_options_loads(model: Path, tmp_path: Path) -> None:
    loaded = bp.load(model)
    old = {name: value for name, value in loaded.features.to_json().items() if name != "reading"}
    assert bp.Features.from_json(old).reading == {}


DAMAGE: list[Any] = [
    7, ["sep"], {"sep": 7}, {"sep": "(a+)+$"}, {"sep": "a*b*"}, {"sep": ";" * 30}, {"target": "y"}, {"header": "first"},
    {"skiprows": -1}, {"skiprows": 1.5}, {"encoding": "klingon"}, {"encoding": 7}, {"decimal": ",,"}, {"keys": []},
    {"keys": "xy"}, {"na_values": [1]}, {"na_values": ["a" * 300]}, {"scale": 1}, {"max_bytes": 5},
    {"quotechar": None, "x": 1},
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE, ids=str)
def test_damaged_options_are_refused(damage: Any, model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(DataError):
        checked(damage)
    loaded = bp.load(model)
    damaged = {**loaded.features.to_json(), "reading": damage}
    monkeypatch.setattr(bp.Features, "to_json", lambda self: damaged)
    loaded.save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="has features that do not fit"):
        bp.load(tmp_path / "m.safetensors")


def test_kept_options_are_those_that_were_given() -> None:
    assert kept_of({"sep": ";", "encoding": "utf-8", "skiprows": 0, "quotechar": '"', "na_values": ()}) == {"sep": ";"}
    assert kept_of({"delimiter": r"\s+", "header": 0, "na_values": "x"}) == {
        "sep": r"\s+",
        "header": 0,
        "na_values": ["x"],
    }
    assert kept_of({"sep": "::"}) == {"sep": "::"}
    assert kept_of({"sep": r"(?:;|,)+"}) == {}  # matching it may take time without limit
    for kept in (KEPT, {"sep": r"\|\|"}, {"header": "none"}, {"header": False}, {"keys": ["a", "b"]}, {"scale": True}):
        assert checked(json.loads(json.dumps(kept))) == kept
    assert option_texts({"sep": ";", "na_values": ["n/d", "x y"]}) == "--sep ';' --na-values 'n/d,x y'"


@pytest.mark.parametrize(("content", "plain"), [("ä".encode(), True), ("ä".encode("latin-1"), False), (b"a", False)])
def test_utf8_is_known_by_its_bytes(content: bytes, plain: bool, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(content)
    assert is_plainly_utf8(tmp_path / "t") is plain


def test_skipping_lines_beyond_the_end_stops(mistake: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    said = mistake("train", tmp_path / "t.csv", "--skiprows", str(10**12))
    assert "requires at least one row, got none behind the 1,000,000,000,000 that are skipped" in said
