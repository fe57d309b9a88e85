"""Data: textbook, real and synthetic sets, files, and the checks a model makes before it trains.

dataset: a data set. table: named columns of every kind. loading: `load`, by name or from a file. named/ and synthetic/: the
sets. files/: readers and a writer. tables/: text tables, Parquet, data frames. features/: the kind of each column, and its
encoding as inputs. validation/: the checks. mmap/: arrays larger than memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bpengine.data.mmap.row_file import RowFile, drop_pages, in_memory, prefetch_rows, runs_of
from bpengine.data.table import Table, TableColumn
from bpengine.data.validation.class_names import ClassName, check_class_names
from bpengine.data.validation.features import check_features, check_same_length, check_weights
from bpengine.data.validation.scans import real_array
from bpengine.data.validation.targets import check_binary_targets, check_class_labels, check_targets

if TYPE_CHECKING:
    from bpengine.data.dataset import Dataset
    from bpengine.data.features.encoding import Encoded
    from bpengine.data.features.feature_set import Features, as_table
    from bpengine.data.files.idx import read_idx
    from bpengine.data.files.npy import Arrays, read_npy, read_npz
    from bpengine.data.files.read_arrays import read_arrays
    from bpengine.data.files.table_files import read_csv, read_parquet
    from bpengine.data.files.write_synthetic import write
    from bpengine.data.loading import load, names
    from bpengine.data.synthetic.generate import generate
    from bpengine.data.tables.conversion import convert
    from bpengine.data.tables.data_frames import is_frame, is_series, is_table_like, table_of

announce, release = prefetch_rows, drop_pages  # their earlier names

# Files, sets, tables and their columns are loaded with the first name that needs them: a fit of arrays needs none.
_MODULE_OF = {
    "Arrays": "files.npy",
    "Dataset": "dataset",
    "Encoded": "features.encoding",
    "Features": "features.feature_set",
    "as_table": "features.feature_set",
    "convert": "tables.conversion",
    "generate": "synthetic.generate",
    "is_frame": "tables.data_frames",
    "is_series": "tables.data_frames",
    "is_table_like": "tables.data_frames",
    "load": "loading",
    "names": "loading",
    "read_arrays": "files.read_arrays",
    "read_csv": "files.table_files",
    "read_idx": "files.idx",
    "read_npy": "files.npy",
    "read_npz": "files.npy",
    "read_parquet": "files.table_files",
    "table_of": "tables.data_frames",
    "write": "files.write_synthetic",
}

__all__ = [
    "Arrays",
    "ClassName",
    "Dataset",
    "Encoded",
    "Features",
    "RowFile",
    "Table",
    "TableColumn",
    "announce",
    "as_table",
    "check_binary_targets",
    "check_class_labels",
    "check_class_names",
    "check_features",
    "check_same_length",
    "check_targets",
    "check_weights",
    "convert",
    "drop_pages",
    "generate",
    "in_memory",
    "is_frame",
    "is_series",
    "is_table_like",
    "load",
    "names",
    "prefetch_rows",
    "read_arrays",
    "read_csv",
    "read_idx",
    "read_npy",
    "read_npz",
    "read_parquet",
    "real_array",
    "release",
    "runs_of",
    "table_of",
    "write",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'bpengine.data' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"bpengine.data.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
