"""Oracles: independent ways to the same gradient."""

from bpengine.check.autodiff import autodiff_gradients, largest_difference

__all__ = ["autodiff_gradients", "largest_difference"]
