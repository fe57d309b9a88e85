"""Model files: what a model is made of, on disk."""

from bpengine.io.descriptions import build, describe, difference
from bpengine.io.modelfile import Contents, check_arrays, read, write
from bpengine.io.own import own_code

__all__ = ["Contents", "build", "check_arrays", "describe", "difference", "own_code", "read", "write"]
