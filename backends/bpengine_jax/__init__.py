"""The JAX backend: the same kernels traced, compiled by XLA, an epoch as one loop on the device."""

from bpengine_jax.backend import JaxBackend

__all__ = ["JaxBackend"]
