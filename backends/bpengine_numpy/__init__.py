"""The NumPy backend: the reference implementation of the interface."""

from bpengine_numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
