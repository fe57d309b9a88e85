"""The CuPy backend: the same kernels on an NVIDIA GPU through CuPy's array namespace."""

from bpengine_cupy.backend import CupyBackend

__all__ = ["CupyBackend"]
