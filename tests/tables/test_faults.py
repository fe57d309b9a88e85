"""Faults of real and damaged files, each of its kind: an error names the file and the reason, or the file is read as it is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bpengine as bp
from bpengine.data.tables import byte_streams, conversion
from bpengine.errors import BpError, ConfigError, DataError

TABLE = b"a,b,c\n" + b"".join(b"%d,%d,%d\n" % (i, i * i % 17, i % 2) for i in range(2000))


@pytest.fixture
def put(tmp_path: Path) -> Any:
    """Write a file and return its path."""

    def write(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def refused(path: Path, **options: Any) -> str:
    """Return the one line that a reader says about a file; it must name it."""
    with pytest.raises(BpError) as raised:
        bp.data.load(path, **options)
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_lines_of_any_length_are_read(put: Any) -> None:
    wide = "\n".join(",".join(["1.2500000000000"] * 9_000 + [str(i % 2)]) for i in range(4)) + "\n"
    assert bp.data.load(put("wide.csv", wide.encode())).x.shape == (4, 9_000)
    long_field = 'a,b\n1,"' + "x" * 200_000 + '"\n2,y\n'
    assert bp.data.read_arrays(put("field.csv", long_field.encode()), target=False).x.shape == (2, 2)


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)], ids=["gz", "bz2", "xz"]
)
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_compression_is_named(put: Any, ending: str, pack: Any, damage: str) -> None:
    packed = bytearray(pack(TABLE))
    if damage == "cut":
        del packed[-len(packed) // 3 :]
    else:
        packed[len(packed) // 2] ^= 0xFF
    assert "damaged or cut off" in refused(put(f"t.csv.{ending}", bytes(packed)))


def test_a_wrong_checksum_names_the_file(put: Any) -> None:
    packed = bytearray(gzip.compress(TABLE))
    packed[-6] ^= 1
    assert "CRC check failed" in refused(put("crc.csv.gz", bytes(packed)))


def test_trailing_separators_are_no_column(put: Any) -> None:
    for name, content in (("rows.csv", b"a,b,c\n1,2,0,\n3,4,1,\n"), ("all.csv", b"a,b,c,\n1,2,0,\n3,4,1,\n")):
        columns = bp.data.read_arrays(put(name, content), target=False)
        assert columns.feature_names == ("a", "b", "c")
        np.testing.assert_array_equal(columns.x, [[1, 2, 0], [3, 4, 1]])
    for name, content in (("head.csv", b"a,b,c,\n1,2,0\n3,4,1\n"), ("many.csv", b"a,b,c,,\n1,2,0,,\n3,4,1,,\n")):
        assert bp.data.load(put(name, content), target="c").feature_names == ("a", "b")
    bare = put("bare.data", b"1,2,0,,\n3,4,1,,\n")
    assert bp.data.read_arrays(bare, target=False).x.tolist() == [[1, 2, 0], [3, 4, 1]]


@pytest.mark.parametrize("cells", [conversion.CELLS, 60], ids=["whole", "in pieces"])
def test_a_field_behind_the_columns_is_told_with_its_row(put: Any, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "CELLS", cells)
    later = put("later.csv", b"a,b\n" + b"1,2,\n" * 200 + b"3,4,5\n")
    assert "row 200 has more fields than the others have" in refused(later)
    with pytest.raises(DataError, match="row 200 has more fields than the others have"):
        bp.data.convert(later, later.parent / "kept")


def test_a_column_without_a_name_that_few_rows_have_is_one(
    put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"ham,text {i},,," for i in range(300)]
    rows[150], rows[280] = 'spam,"a, b",later,,', "ham,c,,last,"
    path = put("spam.csv", "\n".join(["kind,text,,,", *rows]).encode())
    monkeypatch.setattr(conversion, "CELLS", 100)
    for source in (path, bp.data.convert(path, tmp_path / "kept")):
        table = bp.data.read_arrays(source, target=False).x
        assert table.names == ("kind", "text", "column 2", "column 3")
        assert [table[name].text(row) for name, row in (("column 2", 150), ("column 3", 280))] == ["later", "last"]
        assert np.flatnonzero(~table["column 3"].missing).tolist() == [280]


def test_headers_are_found(put: Any) -> None:
    for name, content, names in (
        ("blank.csv", b"\n\na,b\n1,0\n2,1\n", ("a", "b")),
        ("quoted.csv", b'"a\n(cm)",b\n1,2\n3,4\n', ("a (cm)", "b")),
        ("year.csv", b"a,2020,k\n1,2,x\n3,4,y\n", ("a", "2020", "k")),
        ("rows.csv", b'"a","b"\n"1",5,x\n"2",6,y\n', ("column 0", "a", "b")),
        ("none.data", b"5.1,3.5,x\n4.9,3.0,y\n", ("column 0", "column 1", "column 2")),
        ("years.csv", b"country,2017,2018,2019\nOslo,1,2,4\nRio,5,7,6\n", ("country", "2017", "2018", "2019")),
        ("pandas.csv", b",0,1\n0,1.5,2\n1,3.5,4\n", ("column 0", "0", "1")),
        ("bare.csv", b"0,1,2,3,4\n1.5,2,3,4,5\n3.5,4,7,8,9\n", ("0", "1", "2", "3", "4")),
        ("months.csv", b"day,1,2,3,4,5\n2020-01-01,7,,3,1,2\n2020-02-01,,1,2,4,3\n", ("day", *"12345")),
        ("ratings.data", b"ana,1,2,3\nbob,5,4,4\n", ("column 0", "column 1", "column 2", "column 3")),
        ("each.data", b"a,1,2,3,4,5\nb,2,3,4,5,6\n", tuple(f"column {i}" for i in range(6))),
        ("dates.data", b"2020-01-01,1,2,3,4,5\n2020-01-02,7,2,9,1,5\n", tuple(f"column {i}" for i in range(6))),
    ):
        assert bp.data.read_arrays(put(name, content), target=False).feature_names == names


def test_runs_of_blanks_separate_cells(put: Any) -> None:
    path = put("ws.txt", b" 1  2\t0 \n3  4  1\n")
    for options in ({}, {"delimiter": r"\s+"}, {"sep": r"\s+"}):
        np.testing.assert_array_equal(bp.data.read_arrays(path, target=False, **options).x, [[1, 2, 0], [3, 4, 1]])


def test_compression_is_known_by_the_bytes(put: Any) -> None:
    for name in ("UP.CSV.GZ", "t.dat", "none"):
        assert bp.data.load(put(name, gzip.compress(b"a,k\n1,x\n2,y\n"))).class_names == ("x", "y")
    zst = pa.Codec("zstd").compress(b"a,k\n1,x\n2,y\n", asbytes=True)
    assert bp.data.load(put("t.csv.zst", zst)).class_names == ("x", "y")


def test_the_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4], "y": [0, 1, 0, 1]}).iloc[[2, 0, 3, 1]]
    frame.to_parquet(tmp_path / "t.parquet")
    dataset = bp.data.load(tmp_path / "t.parquet")
    assert (dataset.feature_names, dataset.y.tolist()) == (("a",), [0, 0, 1, 1])


@pytest.mark.parametrize("target", [[100_000, 250_000, 597_500, 100_001], [10**12, 10**12 + 5, 7, 3]])
def test_large_whole_numbers_are_values(put: Any, tmp_path: Path, target: list[int]) -> None:
    np.savez(tmp_path / "t.npz", x=np.eye(20), y=np.array(target * 5)[:, None] + np.arange(20)[:, None])
    assert bp.data.load(tmp_path / "t.npz").task == "regression"


def test_one_column_of_whole_numbers_is_classes_whatever_its_shape(tmp_path: Path) -> None:
    y = np.arange(6) % 3
    for shape in ((6,), (6, 1)):
        np.savez(tmp_path / "t.npz", x=np.zeros((6, 2)), y=y.reshape(shape))
        dataset = bp.data.load(tmp_path / "t.npz")
        assert (dataset.task, dataset.y.tolist()) == ("classification", y.tolist())


def test_classes_of_any_type_keep_their_names(put: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros((6, 2)), y=np.array(["b", "a"] * 3))
    assert bp.data.load(tmp_path / "t.npz").class_names == ("a", "b")
    np.savez(tmp_path / "f.npz", x=np.zeros((6, 2)), y=np.array([True, False] * 3))
    assert bp.data.load(tmp_path / "f.npz").class_names == (False, True)
    assert bp.data.load(put("t.csv", b"a,k\n1,2\n2,4\n" * 1 + b"3,2\n4,4\n" * 9)).class_names == (2, 4)


LABELS = np.array(["b", "a", "é"] * 10)


@pytest.mark.parametrize("form", [LABELS, LABELS[:, None], np.strings.encode(LABELS, "utf-8"), LABELS.astype(">U5")])
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_text_in_array_files_is_classes_by_name(tmp_path: Path, form: Any, ending: str) -> None:
    x = np.zeros((30, 2))
    np.savez(tmp_path / "x.npz", x=x, y=form)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", form)
    options = {"target": tmp_path / "y.npy"} if ending == ".npy" else {}
    loaded = bp.data.load(tmp_path / f"x{ending}", **options)
    assert (loaded.task, loaded.class_names) == ("classification", ("a", "b", "é"))
    assert loaded.labels.tolist() == LABELS.tolist()


def test_an_archive_has_inputs_and_targets(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", a=np.zeros((3, 2)), b=np.arange(3), c=np.arange(3))
    for keys in ((), ("a", "b", "c")):
        with pytest.raises(ConfigError, match=f"t.npz requires keys for inputs and targets.* got {len(keys)} of them"):
            bp.data.load(tmp_path / "t.npz", keys=keys)


def test_text_that_is_no_class_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    for y, reason in (
        (np.array(["a", "", "b"]), "y.npy requires a class in every row, got an empty text in row 1"),
        (np.array([b"a", b"\xff", b"b"]), r"y.npy requires classes as text in UTF-8, got the bytes b'\\xff'"),
        (np.array([["a", "b"]] * 3), "y.npy requires real numbers, got dtype <U1"),
        (np.array(["a", 1, "b"], object), r"never unpickled. Save text as text: np.save\(file, y.astype\(str\)\)"),
    ):
        np.save(tmp_path / "y.npy", y)
        with pytest.raises(DataError, match=reason):
            bp.data.load(tmp_path / "x.npy", target=tmp_path / "y.npy")
    np.save(tmp_path / "x.npy", np.array([["a", "b"]] * 3))
    with pytest.raises(DataError, match=r"x.npy requires real numbers, got dtype <U1"):
        bp.data.load(tmp_path / "x.npy")


def test_inputs_without_axes_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.float64(3), y=np.zeros(1))
    assert "requires inputs of shape (rows, features), got ()" in refused(tmp_path / "t.npz")


def npy_bytes(shape: str, values: int) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(4 * values)


def archive(x: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("x.npy", x)
    return held.getvalue()


@pytest.mark.parametrize(("shape", "says"), [("(6, 3)", "longer than its header says"), ("(6, 5)", "truncated")])
def test_arrays_are_as_long_as_their_headers_say(put: Any, shape: str, says: str) -> None:
    assert says in refused(put("t.npy", npy_bytes(shape, 24)), target=None)
    assert says in refused(put("t.npz", archive(npy_bytes(shape, 24))), keys=("x",))


def test_unclosed_quote_does_not_consume_the_file(put: Any) -> None:
    assert "quotation mark that is not closed" in refused(put("o.csv", b'a,k\n1,x\n2,y\n3,"x\n4,y\n5,x\n'))
    assert "with a line break in it" in refused(put("o.csv", b'a,k\n1,x\n2,y\n3,"x\n4,y\n5,"x\n6,y\n'))


def test_the_character_nul_is_no_part_of_a_label(put: Any) -> None:
    for content in (b"a,k\n1,x\n2,y\n3,x\0\n", b"a,k\n1,x\n2,y\0z\n", b"a,k\n1,x\n" * 500_000 + b"\0\n"):
        at = content.index(b"\0")
        assert f"NUL at byte {at:,}" in refused(put("n.csv", content))


def test_two_columns_of_one_name_are_refused(put: Any, tmp_path: Path) -> None:
    assert "two columns of the name 'k'" in refused(put("d.csv", b"a,k,k\n1,0,7\n2,1,8\n"), target="k")
    pq.write_table(pa.table([pa.array([1.0]), pa.array([2.0])], names=["k", "k"]), tmp_path / "d.parquet")
    assert "two columns of the name 'k'" in refused(tmp_path / "d.parquet")


def test_checksums_of_parquet_are_verified(tmp_path: Path) -> None:
    values = np.arange(60) + 0.5
    table = pa.table({"a": values, "y": np.arange(60) % 2})
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(table, tmp_path / "t.parquet", **options)
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[content.index(values.tobytes()) + 15] ^= 1
    (tmp_path / "t.parquet").write_bytes(content)
    assert "CRC" in refused(tmp_path / "t.parquet")


def test_idx_with_too_many_axes_or_no_values_is_refused(put: Any) -> None:
    def idx(*lengths: int) -> bytes:
        return bytes([0, 0, 8, len(lengths)]) + b"".join(struct.pack(">I", n) for n in lengths)

    assert "at most 32 axes" in refused(put("a-ubyte", idx(*[1] * 65) + b"\1"))
    assert "at least one value" in refused(put("b-ubyte", idx(2**32 - 1, 2**32 - 1, 0)))
    assert "truncated" in refused(put("c-ubyte.gz", gzip.compress(idx(2**32 - 1, 2**32 - 1) + bytes(9))))


ROOT = Path(__file__).parents[2]
MEASURED = """
import sys
import bpengine as bp
from tests.peak import peak_kilobytes
try:
    bp.data.load(sys.argv[1], **({"keys": ("x",)} if sys.argv[1].endswith("npz") else {}))
except bp.DataError as error:
    print(error)
print(peak_kilobytes())
"""


def pieces(content: bytes, times: int) -> bytes:
    """Return gzip of a content many times over, made without holding it."""
    held = io.BytesIO()
    with gzip.GzipFile(fileobj=held, mode="wb", compresslevel=1, mtime=0) as file:
        for _ in range(times):
            file.write(content)
    return held.getvalue()


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("kind", ["line", "declared", "blank", "rows"])
def test_decompression_bombs_stop_early(put: Any, kind: str) -> None:
    if kind == "declared":
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w") as entry:
            entry.write(npy_bytes("(12582912, 8)", 0))
            for _ in range(384):
                entry.write(bytes(2**20))
        path, says = put("bomb.npz", held.getvalue()), "declares 402,653,"
    else:
        content, times = {"line": (b"1" * 2**20, 70), "blank": (b"\n" * 2**20, 100), "rows": (b"1,2\n" * 2**18, 200)}[
            kind
        ]
        path = put("bomb.csv.gz", pieces(content, times))
        says = {"line": "a line of more than 67,108,864 bytes", "blank": "nothing but blank lines"}.get(
            kind, "bytes of gzip once decompressed"
        )
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    said, kilobytes = done.stdout.strip().rsplit("\n", 1)
    assert says in said
    assert "--max-bytes" in said or kind in ("line", "blank")
    assert int(kilobytes) < 2**20


def test_max_bytes_limits_every_format(put: Any, tmp_path: Path) -> None:
    path = put("t.csv", TABLE)
    assert bp.data.load(path, max_bytes=len(TABLE)).rows == 2000
    assert "more than 1,000 bytes" in refused(path, max_bytes=1000)
    np.savez_compressed(tmp_path / "t.npz", x=np.zeros((100, 10)), y=np.zeros(100))
    assert "more than 1,000" in refused(tmp_path / "t.npz", max_bytes=1000)
    assert "more than 1,000 bytes" in refused(
        put("x.idx.gz", gzip.compress(b"\0\0\x08\1\0\1\0\0" + bytes(65536))), max_bytes=1000
    )
    pq.write_table(
        pa.table({"a": np.random.default_rng(0).normal(size=999), "y": np.zeros(999)}), tmp_path / "t.parquet"
    )
    assert "more than 1,000" in refused(tmp_path / "t.parquet", max_bytes=1000)


def test_sparse_matrices_and_generators_are_named() -> None:
    from scipy import sparse

    model = bp.Model(bp.Network(3, [bp.Dense(1)], "mean_squared_error"))
    with pytest.raises(DataError, match=r"sparse matrix .* not supported.*x\.toarray\(\)"):
        model.predict(sparse.eye(3).tocsr())
    with pytest.raises(DataError, match=r"read only once and not supported.*np\.stack\(list\(x\)\)"):
        model.predict(row for row in np.eye(3))


def test_a_name_with_a_line_break_is_one_line(put: Any) -> None:
    data = bp.data.load(put("t.csv", b'"a\n(cm)","k\r\nind"\n1,x\n2,y\n'))
    assert data.feature_names == ("a (cm)",)
    assert bp.data.load(put("t.csv", b'"a\n(cm)",k\n1,x\n2,y\n'), target="a\n(cm)").y.tolist() == [[1], [2]]
    frame = pd.DataFrame({"a\n(cm)": [1.0, 2.0, 3.0, 4.0], "b": [1.0, 0.0, 1.0, 1.0], "y": ["n", "y"] * 2})
    features = bp.Features().fit(frame, "y")
    assert features.input_names == ("a (cm)", "b")
    for name in ("a (cm)", "a\n(cm)"):
        encoded = features.transform(frame.rename(columns={"a\n(cm)": name}))
        np.testing.assert_array_equal(encoded, features.transform(frame))
    with pytest.raises(DataError, match="two columns of the name 'a b'"):
        bp.data.load(put("two.csv", b'"a\nb","a b",k\n1,2,x\n2,3,y\n'))


@pytest.mark.parametrize("header", [b"{'descr': '<f4', 'shape': (6, 4", b"-" * 5000 + b"1", b"{[]: 1}", b"{}"])
def test_damaged_array_header_has_a_clear_message(put: Any, header: bytes) -> None:
    header += b"\n"
    content = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
    assert refused(put("x.npy", content)).endswith("its header is damaged and says neither shape nor type")
    assert refused(put("x.npy", content[1:])).endswith("it does not begin as a file of that format does")


def test_encrypted_archive_is_named_as_such(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros((4, 2)), y=np.zeros(4))
    content = bytearray((tmp_path / "t.npz").read_bytes())
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.find(signature) + at] |= 1
    (tmp_path / "t.npz").write_bytes(content)
    assert refused(tmp_path / "t.npz").endswith("is encrypted. Save it without a password.")


@pytest.mark.parametrize("name", ["x.npy", "x.NPZ", "train-images-idx3-ubyte.gz"])
def test_arrays_are_not_converted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0")
    with pytest.raises(ConfigError, match=r"convert requires a table.*Arrays are given to train as they are"):
        bp.data.convert(tmp_path / name, tmp_path / "kept")


def test_convert_names_an_unknown_option(put: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown option of .*t\.csv: 'decimals'\. Did you mean 'decimal'"):
        bp.data.convert(put("t.csv", b"a,b\n1,2\n"), tmp_path / "kept", decimals=",")
    assert not (tmp_path / "kept").exists()


def test_a_file_without_rows_is_refused_before_a_copy_is_announced(put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "ABOVE", 10)
    path = put("blank.csv", b"\n" * 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "requires at least one row" in refused(path)


def test_wrong_encoding_names_the_cure(put: Any) -> None:
    path = put("l.csv", "a,k\n1,é\n2,z\n".encode("latin-1"))
    assert "--encoding" in refused(path)
    assert bp.data.load(path, encoding="latin-1").class_names == ("z", "é")
    path = put("w.csv", "a,k\n1,é\n2,z\n".encode("utf-16"))
    assert "begins as text in UTF-16" in refused(path)
    assert bp.data.load(path, encoding="utf-16").class_names == ("z", "é")
    with pytest.raises(ConfigError, match="an encoding that Python knows, got 'latin-77'"):
        bp.data.load(path, encoding="latin-77")


@pytest.mark.parametrize("before", [0, 90, 70_000, 1_500_000])
def test_the_byte_that_is_no_text_is_the_first_of_the_file(put: Any, before: int) -> None:
    begin = "a,k\nü,x\n".encode() + b"1,y\n" * before
    path = put("l.csv", begin + "é,z\n".encode("latin-1") + b"1,y\n" * 20)
    assert f"is not text in utf-8 at byte {len(begin):,}: invalid continuation byte." in refused(path)
    assert f"at byte {len(begin):,}: unexpected end of data." in refused(put("cut.csv", begin + b"\xc3"))
    wide = "a,k\n1,x\n".encode("utf-16-le")
    said = refused(put("w.csv", wide + b"\0\xdc" + wide), encoding="utf-16-le")
    assert f"is not text in utf-16-le at byte {len(wide)}: " in said


def test_the_usual_limit_is_stated() -> None:
    assert byte_streams.limit_of(Path(__file__), None, None) is None
    assert byte_streams.limit_of(Path(__file__), "gzip", 7) == 7
    assert byte_streams.limit_of(Path(__file__), "gzip", None) == 64 * 2**20 + 50 * Path(__file__).stat().st_size
