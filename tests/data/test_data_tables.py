"""CSV and Parquet: delimiters, names, text targets, and errors that name the cell."""

import gzip
import re
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from bpengine.data import Table, load, read_arrays
from bpengine.errors import ConfigError, DataError
from bpengine.extras import install_command

FLOWERS = "length,width,species\n5.1,3.5,setosa\n7.0,3.2,versicolor\n4.9,3.0,setosa\n"


@pytest.fixture
def csv(tmp_path):
    """Return a function that writes text to a CSV file and returns its path."""

    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


@pytest.fixture
def parquet(tmp_path):
    """Return a function that writes columns to a Parquet file and returns its path."""

    def write(**columns):
        pyarrow.parquet.write_table(pa.table(columns), tmp_path / "table.parquet")
        return tmp_path / "table.parquet"

    return write


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_text_target_becomes_sorted_classes(csv, delimiter, name):
    dataset = load(csv(FLOWERS.replace(",", delimiter), name))
    np.testing.assert_array_equal(dataset.x, [[5.1, 3.5], [7.0, 3.2], [4.9, 3.0]])
    np.testing.assert_array_equal(dataset.y, [0, 1, 0])
    assert dataset.class_names == ("setosa", "versicolor")
    assert dataset.feature_names == ("length", "width")


def test_table_without_a_header_has_numbered_columns(csv):
    dataset = load(csv(FLOWERS.partition("\n")[2]))
    assert dataset.rows == 3
    assert dataset.feature_names == ("column 0", "column 1")


def test_header_option_overrides_the_inferred_header(csv):
    path = csv("1998,1999\n1,2\n3,4\n")
    assert load(path).rows == 3
    dataset = load(path, header=True)
    assert (dataset.rows, dataset.feature_names) == (2, ("1998",))


def test_byte_order_mark_quotes_and_hash_are_read_as_csv_says(csv):
    dataset = load(csv('\ufeff"a, b",c,d\n1,2,"x, #1"\n3,4,y\n'))
    assert dataset.feature_names == ("a, b", "c")
    assert dataset.class_names == ("x, #1", "y")


@pytest.mark.parametrize("target", ["species", 0, -3])
def test_target_column_is_chosen_by_name_or_number(csv, target):
    dataset = load(csv("species,length,width\nb,1,2\na,3,4\n"), target=target)
    np.testing.assert_array_equal(dataset.x, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(dataset.y, [1, 0])


def test_target_column_may_stand_in_the_middle(csv):
    dataset = load(csv("a,t,b\n1,u,2\n3,v,4\n"), target="t")
    np.testing.assert_array_equal(dataset.x, [[1, 2], [3, 4]])


def test_table_without_a_target_gives_inputs_alone(csv):
    columns = read_arrays(csv("a,b\n1,2\n3,4\n"), target=False)
    np.testing.assert_array_equal(columns.x, [[1, 2], [3, 4]])
    assert columns.y is None


@pytest.mark.parametrize(
    ("values", "task", "y"),
    [
        ([0, 1, 2, 0, 1, 2], "classification", [0, 1, 2, 0, 1, 2]),
        ([1, 2, 1, 2], "classification", [0, 1, 0, 1]),
        ([0, 1, 3, 0, 1, 3, 3, 3], "regression", None),
        ([0, 1, 2], "regression", None),
        ([0.5, 1, 0.5, 1], "regression", None),
    ],
)
def test_task_is_inferred_from_numeric_targets(csv, values, task, y):
    dataset = load(csv("a,t\n" + "".join(f"7,{value}\n" for value in values)))
    assert dataset.task == task
    np.testing.assert_array_equal(dataset.y, np.array(values, float)[:, None] if y is None else y)


def test_task_option_overrides_the_inferred_task(csv):
    path = csv("a,t\n1,10\n2,20\n3,10\n")
    assert load(path).task == "regression"
    dataset = load(path, task="classification")
    assert (dataset.y.tolist(), dataset.class_names) == ([0, 1, 0], (10, 20))
    with pytest.raises(ConfigError, match="unknown task 'ranking'"):
        load(path, task="ranking")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,t\n1,2,3\n4,5,\n", "has a missing value in row 1, column 't' (number 2)"),
        ("a,b,t\n1,2,u\n4,5,\n", "has a missing value in row 1, column 't' (number 2)"),
        ("a,b,t\n1,2,u\n4,5,6,v\n", "line 3 has 4 fields, the others have 3"),
        ("a,b,b\n1,2,u\n", "two columns of the name 'b'"),
        ('a,b\n1,x\n2,"y\n3,x\n', "A quotation mark that is not closed"),
        ("a,b\n1,x\n2,y\0\n", "the character NUL at byte 11"),
        ("a,b\n1,2,3,4\n", "has 2 names in its header, and 4 fields in its rows"),
        ("a,b,t\n", "requires at least one row below its header"),
        ("", "requires at least one row, got none"),
        ("t\n1\n2\n", "requires a feature and a target column, got 1 column"),
    ],
)
def test_bad_csv_names_file_row_and_column(csv, text, message):
    path = csv(text)
    with pytest.raises(DataError) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "values", "categories"),
    [
        ("a,b,t\n1,2,3\n4,,6\n", "b", [2.0, np.nan], None),
        ("a,b,t\n1,2,3\n4,NA,6\n", "b", [2.0, np.nan], None),
        ("a,b,t\n1,2,3\n4,?,6\n", "b", [2.0, np.nan], None),
        ("a,b,t\n1,2,3\n4,red,6\n", "b", [0, 1], ("2", "red")),
        ("a,b,t\nred,2,u\n,5,v\n", "a", [0, -1], ("red",)),
        ("a,b,t\nTrue,2,u\n,5,v\n", "a", [1.0, np.nan], None),
    ],
)
def test_columns_of_other_kinds_and_missing_cells_are_kept(csv, text, name, values, categories):
    x = read_arrays(csv(text)).x
    assert isinstance(x, Table)
    np.testing.assert_array_equal(x[name].values, values)
    assert x[name].categories == categories
    with pytest.raises(DataError, match=f"column '{name}'"):
        np.asarray(x)


def test_unknown_target_column_is_refused(csv):
    path = csv(FLOWERS)
    with pytest.raises(ConfigError, match=r"'specie'\. Did you mean 'species'"):
        load(path, target="specie")
    with pytest.raises(ConfigError, match="target column from -3 to 2, got 3"):
        load(path, target=3)
    with pytest.raises(ConfigError, match="task='regression' requires a target of numbers"):
        load(path, task="regression")


def test_a_name_like_an_address_is_only_a_missing_file():
    with pytest.raises(DataError, match="does not exist"):
        load("http://localhost/table.csv")


def test_text_target_of_a_parquet_file_becomes_classes(parquet):
    for kind in (pa.string(), pa.dictionary(pa.int8(), pa.string())):
        target = pa.array(["u", "v", "u"]).cast(kind)
        dataset = load(parquet(a=[1.0, 2.0, 3.0], b=[4, 5, 6], t=target))
        np.testing.assert_array_equal(dataset.x, [[1, 4], [2, 5], [3, 6]])
        assert (dataset.y.tolist(), dataset.class_names, dataset.feature_names) == ([0, 1, 0], ("u", "v"), ("a", "b"))


def test_parquet_keeps_the_common_type(parquet):
    dataset = load(parquet(a=pa.array([1.0, 2.0], pa.float32()), b=pa.array([1, 0], pa.int8()), t=[0.5, 1.5]))
    assert (dataset.x.dtype, dataset.task) == (np.float32, "regression")
    assert read_arrays(parquet(a=[1, 2], b=[3, 4]), target=False).x.tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1.0, 2.0], "t": ["u", None]}, "missing value in row 1, column 't' (number 1)"),
        ({"a": pa.array([], pa.float64()), "t": pa.array([], pa.float64())}, "at least one row, got none"),
    ],
)
def test_bad_parquet_names_row_and_column(parquet, columns, message):
    with pytest.raises(DataError) as caught:
        load(parquet(**columns))
    assert message in str(caught.value)


def test_parquet_without_pyarrow_names_the_cure(parquet, monkeypatch):
    path = parquet(a=[1.0], t=[1.0])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        ConfigError, match=rf"requires pyarrow, which is not installed.*{re.escape(install_command('tables'))}"
    ):
        load(path)


def test_csv_without_pandas_names_the_cure(csv, monkeypatch):
    path = csv(FLOWERS)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ConfigError, match=rf"requires pandas, which is not installed.*{re.escape(install_command('tables'))}"
    ):
        load(path)
