"""Data: textbook, real and synthetic sets, files, and the checks a model makes before it trains."""

from __future__ import annotations

from bpengine.data._numbers import real_array
from bpengine.data.arrays import Arrays, read_npy, read_npz
from bpengine.data.checks import check_features, check_same_length, check_weights
from bpengine.data.classnames import ClassName, check_class_names
from bpengine.data.csvfile import read_csv
from bpengine.data.dataset import Dataset
from bpengine.data.files import read_arrays
from bpengine.data.idx import read_idx
from bpengine.data.loading import load, names
from bpengine.data.mapped import RowFile, in_memory, runs_of
from bpengine.data.memory import announce, release
from bpengine.data.synthetic import generate
from bpengine.data.tables import read_parquet
from bpengine.data.targets import check_binary_targets, check_class_labels, check_targets
from bpengine.data.writing import write

__all__ = [
    "Arrays",
    "ClassName",
    "Dataset",
    "RowFile",
    "announce",
    "check_binary_targets",
    "check_class_labels",
    "check_class_names",
    "check_features",
    "check_same_length",
    "check_targets",
    "check_weights",
    "generate",
    "in_memory",
    "load",
    "names",
    "read_arrays",
    "read_csv",
    "read_idx",
    "read_npy",
    "read_npz",
    "read_parquet",
    "real_array",
    "release",
    "runs_of",
    "write",
]
