"""The NumPy backend: the reference, and the living definition of the surface."""

from bpengine_numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
