"""Array files: .npy, .npz and IDX, written here byte by byte."""

import gzip
import struct

import numpy as np
import pytest

from bpengine.data import load, read_arrays, read_csv, read_idx, read_npy, read_npz, read_parquet
from bpengine.errors import ConfigError, DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array, dtype="u1"):
    shape = b"".join(struct.pack(">I", length) for length in array.shape)
    return bytes([0, 0, CODES[dtype], array.ndim]) + shape + array.astype(">" + dtype).tobytes()


@pytest.fixture
def images():
    return np.arange(5 * 4 * 3).reshape(5, 4, 3) * 4


@pytest.fixture
def mnist(tmp_path, images):
    """Return the paths of an image and a label file in MNIST's format."""
    paths = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    paths[0].write_bytes(idx_bytes(images))
    paths[1].write_bytes(idx_bytes(np.array([3, 1, 0, 9, 1])))
    return paths


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("compressed", [False, True])
def test_idx_holds_every_type(tmp_path, dtype, compressed):
    values = np.array([[1, 2, 3], [100, 5, 127]])
    path = tmp_path / ("a.idx.gz" if compressed else "a.idx")
    content = idx_bytes(values, dtype)
    path.write_bytes(gzip.compress(content) if compressed else content)
    values_read = read_idx(path)
    np.testing.assert_array_equal(values_read, values)
    assert values_read.dtype == np.dtype(dtype)
    assert isinstance(values_read, np.memmap) == (dtype in ("u1", "i1") and not compressed)


def test_mnist_pair_stays_mapped_bytes(mnist, images):
    dataset = load(str(mnist[0]), target=str(mnist[1]))
    np.testing.assert_array_equal(dataset.x, images.reshape(5, 12))
    np.testing.assert_array_equal(dataset.y, [3, 1, 0, 9, 1])
    assert isinstance(dataset.x, np.memmap)
    assert (dataset.x.dtype, dataset.task, dataset.classes) == (np.uint8, "classification", 10)


def test_scale_divides_pixels_and_leaves_labels(mnist, images):
    dataset = load(str(mnist[0]), target=str(mnist[1]), scale=True)
    np.testing.assert_array_equal(dataset.x, images.reshape(5, 12).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(dataset.y, [3, 1, 0, 9, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-7], "is truncated: expected 60 bytes of values for shape (5, 4, 3), found 53."),
        (lambda content: content + b"\0\0", "longer than its header says: expected 60 bytes"),
        (lambda content: b"\1" + content[1:], "got the bytes 01 00 08 03"),
        (lambda content: content[:2] + b"\7" + content[3:], "got the bytes 00 00 07 03"),
        (lambda content: content[:9], "requires 12 bytes of axis lengths, got 5 bytes"),
        (lambda content: content[:3], "header of at least 4 bytes, got 3 bytes"),
        (lambda content: b"", "got 0 bytes"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_idx_is_named_with_its_bytes(tmp_path, images, change, message, compressed):
    path = tmp_path / "images-idx3-ubyte"
    content = change(idx_bytes(images))
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_damaged_gzip_is_named(tmp_path, images):
    path = tmp_path / "images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(images))[:-12])
    with pytest.raises(DataError, match="cannot be read as IDX"):
        read_idx(path)


def test_npy_pair_is_mapped_and_read_only(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3, dtype=np.float32))
    np.save(tmp_path / "y.npy", np.array([1.5, 2.5, 3.5]))
    dataset = load(tmp_path / "x.npy", target=tmp_path / "y.npy")
    assert isinstance(dataset.x, np.memmap)
    assert not dataset.x.flags.writeable
    assert (dataset.task, dataset.y.shape) == ("regression", (3, 1))
    assert not isinstance(load(tmp_path / "x.npy", target=tmp_path / "y.npy", mmap=False).x, np.memmap)


def test_integer_labels_are_classes_even_when_some_are_missing(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3))
    np.save(tmp_path / "y.npy", np.array([2, 5, 5], np.uint8))
    dataset = load(tmp_path / "x.npy", target=tmp_path / "y.npy")
    np.testing.assert_array_equal(dataset.y, [2, 5, 5])
    assert dataset.classes == 6
    assert load(tmp_path / "x.npy", target=tmp_path / "y.npy", task="regression").y.shape == (3, 1)


def test_signs_become_named_classes(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.eye(3), y=np.array([-1, 1, -1]))
    dataset = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.y, [0, 1, 0])
    assert dataset.class_names == (-1, 1)


def test_other_byte_order_is_turned(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(2, dtype=">f4"))
    values_read = read_arrays(tmp_path / "x.npy").x
    assert values_read.dtype.isnative
    np.testing.assert_array_equal(values_read, np.eye(2))


def test_arrays_of_an_npz_file_are_chosen_by_key(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 2, 2)), labels=np.array([0, 1, 1, 0]))
    with pytest.raises(DataError, match="requires an array 'x', got images, labels"):
        load(tmp_path / "a.npz")
    dataset = load(tmp_path / "a.npz", keys=("images", "labels"))
    assert (dataset.x.shape, dataset.classes) == ((4, 4), 2)
    assert read_arrays(tmp_path / "a.npz", keys=("images",)).y is None


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_objects_are_never_unpickled(tmp_path, name):
    objects = np.array([[{}]], dtype=object)
    if name == "x.npy":
        np.save(tmp_path / name, objects, allow_pickle=True)
    else:
        np.savez(tmp_path / name, x=objects, y=np.zeros(1))
    with pytest.raises(DataError, match="cannot be read"):
        read_arrays(tmp_path / name)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.parquet", "x-idx3-ubyte", "x.csv"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00garbage", b"PK\x03\x04garbage", b"\xff\xfe\x00"])
def test_garbage_is_a_data_error_that_names_the_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_arrays(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_truncated_npy_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(100))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:1000])
    with pytest.raises(DataError, match=r"cannot be read as \.npy"):
        read_arrays(tmp_path / "x.npy")


def test_inputs_alone_are_no_data_set(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(2))
    assert read_arrays(tmp_path / "x.npy").y is None
    with pytest.raises(DataError, match="load requires targets, got only inputs"):
        load(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.eye(3), np.zeros(2), "requires as many targets as inputs, got x (3, 3) and y (2,)"),
        (np.zeros(3), np.zeros(3), "requires inputs of shape (rows, features), got (3,)"),
        (np.zeros((0, 3)), np.zeros(0), "at least one row, got shape (0, 3)"),
        (np.array([["a"]]), np.zeros(1), "requires real numbers, got dtype <U1"),
        (np.eye(3), np.float64(1), "got x (3, 3) and y ()"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, x, y, message):
    np.savez(tmp_path / "a.npz", x=x, y=y)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "a.npz")
    assert message in str(caught.value)


def test_options_belong_to_formats(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(2))
    with pytest.raises(ConfigError, match=r"unknown option of .*x\.npy: 'delimiter'"):
        read_arrays(tmp_path / "x.npy", delimiter=",")
    with pytest.raises(ConfigError, match="its target is the path of another file, got 3"):
        read_arrays(tmp_path / "x.npy", target=3)
    (tmp_path / "y.doc").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"y\.doc is no array file, as .*x\.npy is one"):
        read_arrays(tmp_path / "x.npy", target=tmp_path / "y.doc")
    assert read_arrays(tmp_path / "y.doc", target=False).x.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("reader", [read_arrays, read_csv, read_idx, read_npy, read_npz, read_parquet])
def test_every_reader_takes_text_and_names_a_missing_file(reader):
    with pytest.raises(DataError, match="'nowhere' does not exist"):
        reader("nowhere")
