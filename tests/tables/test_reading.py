"""Tables as they are written: dialects, options under pandas' names, kinds of columns, large tables in pieces, data frames."""

from __future__ import annotations

import datetime as dt
import io
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bpengine as bp
from bpengine.data.tables import conversion, csv_table, parquet_table
from bpengine.errors import ConfigError, DataError, WriteError

KINDS = "n,flag,day,city,k\n1.5,True,2020-01-05,Oslo,x\n,False,2020-01-06,,y\n3.5,,2020-01-07,Rio,x\n"


def written(folder: Path, content: str, name: str = "t.csv") -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("a;b\r\n1,5;2\r\n-2,25;3\r\n", {}),
        ("a\tb\n1.5\t2\n-2.25\t3\n", {}),
        ("a|b\n1.5|2\n-2.25|3\n", {}),
        ("a   b\n1.5 2\n -2.25\t3 \n", {}),
        ("a,b\n1.5,2\n-2.25,3\n\n\n", {}),
        ("\ufeffa,b\n1.5,2\n-2.25,3\n", {}),
        ("report\nof today\na,b\n1.5,2\n-2.25,3\n", {"skiprows": 2}),
        ("# said\na,b # names\n1.5,2\n# more\n-2.25,3\n", {"comment": "#"}),
        ("x,y\na,b\n1.5,2\n-2.25,3\n", {"header": 1}),
        ("'a','b'\n'1.5',2\n-2.25,3\n", {"quotechar": "'"}),
        ("a::b\n1.5::2\n-2.25::3\n", {"sep": "::"}),
    ],
)
def test_text_files_of_every_dialect_give_the_same_table(tmp_path: Path, content: str, options: dict[str, Any]) -> None:
    columns = bp.data.read_arrays(written(tmp_path, content, "t.data"), target=False, **options)
    assert columns.feature_names == ("a", "b")
    np.testing.assert_array_equal(columns.x, [[1.5, 2], [-2.25, 3]])


def lines(row: str, head: str = "") -> str:
    """Return a table of twelve rows in which # is a number that differs."""
    return head + "".join(row.replace("#", str(i)) + "\n" for i in range(12))


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        (lines("1#.5\t2.#\t\t3\n4\t5\t6"), (24, 3)),
        (lines(" 0.1#  18.00   2.3#   0"), (12, 4)),
        (lines('1#.0   8   3#.0 \t"chevrolet chevelle"'), (12, 4)),
        (lines("ham\tcall # times", "kind\ttext\n"), (12, 2)),
        (lines("1,#  2,5 x", "a b k\n"), (12, 3)),
        (lines("1,#|3|x", "a|b|k\n"), (12, 3)),
        (lines("1,#|3|4"), (12, 3)),
        (lines('#,"Toy Story, part #; (1995)",1', "id,title,y\n"), (12, 3)),
        (lines("hello, number #;1", "text;y\n"), (12, 2)),
        (lines('"#",1.5,2#', '"a","b"\n'), (12, 3)),
        (lines("2020-01-05 10:00:00,5.#", "time,temperature\n"), (12, 2)),
        (lines("#.25", "price\n"), (12, 1)),
        (lines("nana", "anna\n"), (12, 1)),
        (lines("age, #, <=50K"), (12, 3)),
        (lines("the cat sat on mat #", "text\n"), (12, 1)),
    ],
)
def test_separators_of_public_files_are_recognised(tmp_path: Path, content: str, shape: tuple[int, int]) -> None:
    assert bp.data.read_arrays(written(tmp_path, content), target=False).x.shape == shape


def test_a_title_is_no_header(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 1 name in its header, and 3 fields in its rows.*--skiprows"):
        bp.data.read_arrays(written(tmp_path, lines("#;2;3", "report of the year\n")), target=False)


def test_decimal_mark_is_not_taken_as_a_separator(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the number '1.0010,5', in which '.' does not separate thousands"):
        layout = bp.data.read_arrays(written(tmp_path, lines("1.00#,5", "price\n")), False, decimal=",", thousands=".")
    assert layout.x[:, 0].tolist() == [1000.5 + i if i < 10 else 10000.5 + i for i in range(12)]


def test_the_decimal_mark_may_separate_numbers_in_quotation_marks(tmp_path: Path) -> None:
    path = written(tmp_path, lines('Oslo,"1,#",3,"2,5"', "city,a,b,c\n"))
    (warning,) = bp.Features().fit(bp.data.read_arrays(path, target=False).x).warnings()
    assert "--decimal , reads their marks" in warning
    table = bp.data.read_arrays(path, target=False, decimal=",").x
    assert table.names == ("city", "a", "b", "c")
    assert table["a"].values[:3].tolist() == [1.0, 1.1, 1.2]


def test_decimal_and_thousands_marks_and_na_values_are_read_as_stated(tmp_path: Path) -> None:
    path = written(tmp_path, 'a;b\n1.234,5;-99\n"2.000";7\n')
    columns = bp.data.read_arrays(path, target=False, decimal=",", thousands=".", na_values=["-99"]).x
    assert [columns[name].values.tolist() for name in columns] == [
        [1234.5, 2000.0],
        pytest.approx([np.nan, 7.0], nan_ok=True),
    ]
    with pytest.raises(ConfigError, match="thousands of one character"):
        bp.data.read_arrays(path, thousands="..")
    with pytest.raises(ConfigError, match="header to be a line's number or 'none'"):
        bp.data.read_arrays(path, header="first")


def test_numbers_truth_values_dates_and_categories_are_recognised(tmp_path: Path) -> None:
    x = bp.data.load(written(tmp_path, KINDS)).x
    assert x.names == ("n", "flag", "day", "city")
    np.testing.assert_array_equal(x["n"].values, [1.5, np.nan, 3.5])
    assert x["flag"].yes_no
    assert x["city"].categories == ("Oslo", "Rio")
    assert x["city"].values.tolist() == [0, -1, 1]
    assert x[1:]["city"].values.tolist() == [-1, 1]


def test_text_keeps_its_form_where_a_table_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "CELLS", 8)
    monkeypatch.setattr(conversion, "CELLS", 8)
    path = written(tmp_path, "code,v\n" + "".join(f"00{i},{i}\n" for i in range(12)) + "abc,1.5\n")
    for table in (
        bp.data.read_arrays(path, target=False).x,
        bp.data.read_arrays(bp.data.convert(path, tmp_path / "c"), target=False).x,
    ):
        assert table["code"].categories[:2] == ("000", "001")
        assert table["v"].values[-1] == 1.5


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_converted_table_is_the_table(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "BATCH", 2)
    monkeypatch.setattr(conversion, "CELLS", 10)
    path = written(tmp_path, KINDS)
    if kind == "parquet":
        pd.read_csv(path).to_parquet(tmp_path / "t.parquet")
        path = tmp_path / "t.parquet"
    folder = bp.data.convert(path, tmp_path / "kept")
    one, other = bp.data.read_arrays(path, target=False).x, bp.data.read_arrays(folder, target=False).x
    assert one.names == other.names
    for name in one:
        np.testing.assert_array_equal(one[name].values, other[name].values)
        assert one[name].categories == other[name].categories
        assert one[name].yes_no == other[name].yes_no
        assert isinstance(other.whole(name), np.memmap)
    with pytest.raises(WriteError, match="exists already"):
        bp.data.convert(path, folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({path.name, "t.csv", "kept"})
    (folder / "0.npy").write_bytes(b"damaged")
    with pytest.raises(DataError, match="no converted table, or damaged"):
        bp.data.read_arrays(folder)


def test_large_table_is_converted_once_and_announced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "ABOVE", 10)
    path = written(tmp_path, "a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(50)))
    with pytest.warns(UserWarning, match=r"is converted once, in pieces, into the folder .*t\.csv\.bpengine"):
        first = bp.data.load(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bp.data.load(path).x.where == first.x.where
    path.write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(60)))
    with pytest.warns(UserWarning, match="is converted once"):
        assert bp.data.load(path).rows == 60


def test_a_damaged_copy_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "ABOVE", 10)
    path = written(tmp_path, "a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(50)))
    for content in (b"{", b"\xff", b"[" * 100_000, b"[1]", b'{"format": 1}'):
        with pytest.warns(UserWarning, match="is converted once"):
            assert bp.data.load(path).rows == 50
        (tmp_path / "t.csv.bpengine" / "table.json").write_bytes(content)


def test_a_large_parquet_file_needs_no_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "ABOVE", 10)
    pq.write_table(pa.table({"a": [1.5, 2.5, 3.5, 4.5], "y": ["no", "yes"] * 2}), tmp_path / "rows")
    with pytest.warns(UserWarning, match="is converted once"):
        assert bp.data.load(tmp_path / "rows").table["a"].values.tolist() == [1.5, 2.5, 3.5, 4.5]
    assert len(bp.data.read_arrays(bp.data.convert(tmp_path / "rows", tmp_path / "kept"), target=False).x) == 4


def test_column_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the data file '.*none\.csv' does not exist"):
        bp.data.convert(tmp_path / "none.csv", tmp_path / "kept")
    with pytest.raises(DataError, match="is a folder"):
        bp.data.convert(tmp_path, tmp_path / "kept")


def test_a_folder_of_other_files_is_never_overwritten(tmp_path: Path) -> None:
    path, folder = written(tmp_path, KINDS), tmp_path / "mine"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(WriteError, match=r"the folder '.*mine' cannot be written: .* Choose another\."):
        bp.data.convert(path, folder, force=True)
    assert (folder / "letter.txt").read_text() == "dear"
    (folder / "letter.txt").unlink()
    bp.data.convert(path, folder, force=True)
    assert len(bp.data.read_arrays(bp.data.convert(path, folder, force=True), target=False).x) == 3


def test_rows_without_a_target_are_refused_or_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "a,k\n1,x\n2,\n3,y\n")
    with pytest.raises(DataError, match=r"missing value in row 1, column 'k'"):
        bp.data.load(path)
    with pytest.warns(UserWarning, match="1 of 3 rows .* has no target and is left out"):
        assert bp.data.load(path, drop_empty=True).y.tolist() == [0, 1]


def test_several_target_columns_are_chosen_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "a,u,v\n1,0.5,2\n2,1.5,3\n")
    for target in (["v", "u"], "v,u"):
        dataset = bp.data.load(path, target=target)
        np.testing.assert_array_equal(dataset.y, [[2, 0.5], [3, 1.5]])
        assert (dataset.feature_names, dataset.target_names) == (("a",), ("v", "u"))


def test_arrow_tables_are_read_and_ambiguous_columns_refused() -> None:
    table = bp.data.table_of(
        pa.table({"n": [1, None], "s": pa.array(["b", "a"]).dictionary_encode(), "f": [True, None]})
    )
    np.testing.assert_array_equal(table["n"].values, [1.0, np.nan])
    assert table["s"].categories == ("a", "b")
    assert table["f"].yes_no
    with pytest.raises(DataError, match="two columns 'a'"):
        bp.data.table_of(pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"]))
    with pytest.raises(DataError, match="column 'c' holds"):
        bp.data.table_of(pa.table({"c": [[1], [2]]}))


def test_importing_loads_no_library_of_tables() -> None:
    libraries = "('pandas', 'pyarrow', 'narwhals', 'sklearn')"
    code = f"import sys, bpengine as bp; bp.data.load('xor'); print([m for m in {libraries} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_table_is_read_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Piped:
        buffer = io.BytesIO(KINDS.encode())

    monkeypatch.setattr(sys, "stdin", Piped())
    assert bp.data.load("-").rows == 3


def test_copy_names_its_source(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"a": pa.array([1.5, 2.5], pa.float32()), "b": pa.array([1, None], pa.int64())}),
        tmp_path / "t.parquet",
    )
    folder = bp.data.convert(tmp_path / "t.parquet", tmp_path / "kept")
    description = json.loads((folder / "table.json").read_text())
    assert (description["format"], description["rows"]) == ("bpengine table 1", 2)
    assert np.load(folder / "0.npy").dtype == np.float32
    np.testing.assert_array_equal(np.load(folder / "1.npy"), [1.0, np.nan])


def test_parquet_pages_are_released_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((10, 200_000)).astype(np.float32)
    pq.write_table(
        pa.table(list(x), names=[f"x{at}" for at in range(10)]), tmp_path / "t.parquet", row_group_size=10_000
    )
    monkeypatch.setattr(parquet_table, "BATCH", 1000)
    before, most = pa.total_allocated_bytes(), 0
    with parquet_table.opened_parquet(tmp_path / "t.parquet") as file:
        for batch in file.batches():
            most = max(most, pa.total_allocated_bytes() - before - batch.nbytes)
    assert most < x.nbytes / 4


def test_learned_columns_are_released(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(50_000.0), "b": np.arange(50_000.0)[::-1], "y": np.arange(50_000) % 2})
    frame.to_parquet(tmp_path / "t.parquet")
    kept = bp.data.convert(tmp_path / "t.parquet", tmp_path / "kept")
    training, _ = bp.data.load(kept).split()
    bp.Features().fit(training)
    assert resident(kept / "0.npy") == resident(kept / "1.npy") == 0
    assert float(training.table["a"].values.sum()) > 0
    assert resident(kept / "0.npy") > 0 or not SMAPS.exists()


SMAPS = Path("/proc/self/smaps")


def resident(path: Path) -> int:
    """Return how many KiB of a mapped file are in this process's memory; 0 where the system does not say."""
    lines = SMAPS.read_text().splitlines() if SMAPS.exists() else []
    maps = [at for at, line in enumerate(lines) if line.endswith(str(path))]
    return sum(int(next(line for line in lines[at:] if line.startswith("Rss:")).split()[1]) for at in maps)


def test_columns_of_a_parquet_file_that_no_table_has_are_left_out(tmp_path: Path) -> None:
    kinds = {
        "words": [["a"], ["b"]],
        "bytes": [b"a", b"b"],
        "at": [dt.time(1), dt.time(2)],
        "for": [dt.timedelta(1)] * 2,
    }
    pq.write_table(pa.table({"a": [1.5, 2.5], **kinds, "y": ["no", "yes"]}), tmp_path / "t.parquet")
    with pytest.warns(UserWarning, match="which no table has, and is left out") as caught:
        people = bp.data.load(tmp_path / "t.parquet")
    assert people.feature_names == ("a",)
    assert {str(warning.message).split("'")[1] for warning in caught} == set(kinds)


def test_mark_that_does_not_separate_thousands_is_reported(tmp_path: Path) -> None:
    path = written(tmp_path, "a;b;y\n1.5;1.000;0\n2.25;12.345.678;1\n")
    with pytest.warns(
        UserWarning, match=r"has the number '1\.5', in which '\.' does not separate thousands: it is read as 15\. Is"
    ):
        assert bp.data.load(path, thousands=".").table["a"].values[0] == 15
    good = written(tmp_path, "a;b;y\n1.500;1.000,25;0\n2.250;12.345.678;1\n", "good.csv")
    assert bp.data.load(good, thousands=".", decimal=",").table["b"].values.tolist() == [1000.25, 12345678]
