"""Model files: save and load a network, its parameters and its settings."""

from bpengine.io.descriptions import build, describe, difference
from bpengine.io.modelfile import Contents, ModelFile, opened, write
from bpengine.io.own import own_code
from bpengine.io.text import one_line

__all__ = ["Contents", "ModelFile", "build", "describe", "difference", "one_line", "opened", "own_code", "write"]
