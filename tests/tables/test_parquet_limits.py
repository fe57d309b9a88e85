"""Parquet files that unfold to more than they are: refused in time, by what their pages say and by what is decoded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bpengine as bp
from bpengine.data.tables import parquet_table
from bpengine.errors import DataError

LONG = 100_000  # characters of a text
ROWS = 66_000  # of it: 6.6 GB
CHILD = """
import json, sys
import bpengine as bp
from tests.peak import peak_kilobytes
said = {}
for name in sys.argv[2:]:
    try:
        bp.data.load(f"{sys.argv[1]}/{name}")
        said[name] = "read"
    except bp.errors.DataError as error:
        said[name] = str(error)
rows = [bp.data.load(f"{sys.argv[1]}/{name}", max_bytes=10**11).rows for name in (sys.argv[2], sys.argv[-1])]
print(json.dumps([said, rows, peak_kilobytes()]))
"""


def text_of_one_value(path: Path, rows: int, **options: Any) -> None:
    """Write a text of two values, LONG each, as a dictionary."""
    codes = pa.array(np.arange(rows, dtype=np.int32) % 2)
    text = pa.DictionaryArray.from_arrays(codes, pa.array(["x" * LONG, "y" * LONG]))
    table = pa.table({"t": text, "y": np.arange(rows) % 2})
    pq.write_table(table, path, store_schema=False, compression="zstd", **options)


def one_page(path: Path) -> None:
    """Write a page that is 200 MiB once it is decompressed."""
    table = pa.table({"t": ["z" * (200 << 20), "b"], "y": [0, 1]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)


def repeating(path: Path, groups: int) -> None:
    """Write groups of a thousand texts, of which each repeats the one before."""
    table = pa.table({"t": ["x" * LONG] * 1000, "y": np.arange(1000) % 2})
    encodings = {"t": "DELTA_BYTE_ARRAY", "y": "PLAIN"}
    options = {"compression": "zstd", "use_dictionary": False, "column_encoding": encodings}
    with pq.ParquetWriter(path, table.schema, write_statistics=False, **options) as writer:
        for _ in range(groups):
            writer.write_table(table)


def varint(number: int, length: int = 0) -> bytes:
    """Return a number as Thrift's compact protocol writes it, in at least so many bytes."""
    rest, digits = 2 * number, []
    while rest or len(digits) < max(1, length):
        digits.append(rest & 0x7F)
        rest >>= 7
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def with_footer(path: Path, out: Path, **said: tuple[int, int]) -> None:
    """Write a file whose footer says other numbers: {name: (number, other number)}."""
    content = path.read_bytes()
    begins = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[begins:-8]
    for number, other in said.values():
        assert varint(number) in footer
        footer = footer.replace(varint(number), varint(other, len(varint(number))))
    out.write_bytes(content[:begins] + footer + content[-8:])


def test_parquet_that_decodes_to_gigabytes_is_refused_in_little_memory(tmp_path: Path) -> None:
    text_of_one_value(tmp_path / "text.parquet", ROWS)
    text_of_one_value(tmp_path / "groups.parquet", ROWS, row_group_size=1000)
    one_page(tmp_path / "page.parquet")
    chunk = pq.read_metadata(tmp_path / "page.parquet").row_group(0)
    sizes = {"chunk": (chunk.column(0).total_uncompressed_size, 100), "group": (chunk.total_byte_size, 200)}
    with_footer(tmp_path / "page.parquet", tmp_path / "lie.parquet", **sizes)
    repeating(tmp_path / "repeating.parquet", 8)
    names = ["text.parquet", "groups.parquet", "page.parquet", "lie.parquet", "repeating.parquet"]
    command = [sys.executable, "-c", CHILD, str(tmp_path), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    said, rows, kilobytes = json.loads(done.stdout.splitlines()[-1])
    for name in names:
        limit = 64 * 2**20 + 50 * (tmp_path / name).stat().st_size
        cure = "Allow more with --max-bytes (max_bytes=), if you trust the file."
        assert said[name] == f"{tmp_path / name} decodes to more than {limit:,} bytes of columns. {cure}"
    assert rows == [ROWS, 8000]  # allowed, a text is held once however often it occurs
    assert kilobytes < 2**19


def test_rows_that_only_a_footer_has_are_refused_before_they_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": np.arange(1000.0), "y": np.arange(1000) % 2}), tmp_path / "t.parquet")
    with_footer(tmp_path / "t.parquet", tmp_path / "many.parquet", rows=(1000, 8000))
    with pytest.raises(DataError, match=r"many.parquet holds 1,000 rows, its footer says 8,000: it is damaged"):
        bp.data.load(tmp_path / "many.parquet")
    with pytest.raises(DataError, match=r"1,000 rows|8,000"):
        bp.data.convert(tmp_path / "many.parquet", tmp_path / "kept")


def test_a_limit_counts_what_columns_hold_once_decoded(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": np.zeros(1000), "y": np.arange(1000) % 2}), tmp_path / "t.parquet")
    assert bp.data.load(tmp_path / "t.parquet", max_bytes=17_000).rows == 1000
    with pytest.raises(DataError, match="decodes to more than 15,999 bytes"):
        bp.data.load(tmp_path / "t.parquet", max_bytes=15_999)


def test_columns_that_are_left_out_are_not_unfolded(tmp_path: Path) -> None:
    nested = pa.array([[0] * 500_000] * 40)  # 160 MB
    pq.write_table(pa.table({"l": nested, "a": np.arange(40.0), "y": np.arange(40) % 2}), tmp_path / "t.parquet")
    with pytest.warns(UserWarning, match="'l' holds list"):
        people = bp.data.load(tmp_path / "t.parquet")
    assert (people.rows, people.feature_names) == (40, ("a",))


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN", None])
def test_texts_are_the_same_however_they_are_encoded(
    tmp_path: Path, encoding: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_table, "BATCH", 7)
    texts = [None if at % 11 == 0 else ["Oslo", " Rio ", ""][at % 3] for at in range(50)]
    table = pa.table({"t": pa.array(texts, pa.large_string()), "y": np.arange(50) % 2})
    spelled = {"use_dictionary": False, "column_encoding": {"t": encoding, "y": "PLAIN"}} if encoding else {}
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=20, **spelled)
    column = bp.data.read_arrays(tmp_path / "t.parquet", target="y").x["t"]
    assert column.categories == ("Oslo", "Rio")
    wanted = [-1 if text in (None, "") else ["Oslo", " Rio "].index(text) for text in texts]
    np.testing.assert_array_equal(column.values, wanted)


def test_a_page_whose_header_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": np.arange(99.0), "y": np.arange(99) % 2}), path, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t.parquet cannot be read as Parquet: the header of a page"):
        bp.data.load(path)


def test_texts_of_missing_cells_hold_for_text_and_for_numbers(tmp_path: Path) -> None:
    table = pa.table({
        "n": [1, -999, 3, 4], "f": pa.array([0.5, 1.5, -999.5, 2.5], pa.float32()), "t": ["a", "n/d", "b", "a"],
        "y": ["no", "yes"] * 2,
    })  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    texts = ("-999", "-999.5", "n/d")
    folder = bp.data.convert(tmp_path / "t.parquet", tmp_path / "kept", na_values=texts)
    for x in (
        bp.data.read_arrays(tmp_path / "t.parquet", na_values=texts).x,
        bp.data.read_parquet(tmp_path / "t.parquet", na_values=texts).x,
        bp.data.read_arrays(folder).x,
    ):
        assert [x[name].missing.tolist().index(True) for name in ("n", "f", "t")] == [1, 2, 1]
        assert x["f"].values.dtype == np.float32
        assert x["t"].categories == ("a", "b")
    one = bp.data.read_arrays(tmp_path / "t.parquet", na_values="n/d").x
    assert one["t"].missing.tolist() == [False, True, False, False]
    assert one["n"].values.tolist() == [1, -999, 3, 4]
