"""Oracles: independent ways to the same gradient, and the reports that come of them."""

from bpengine.check.autodiff import autodiff_gradients, largest_difference
from bpengine.check.comparison import Comparison, compare_backends
from bpengine.check.gradients import check_gradients
from bpengine.check.report import GradientError, Report

__all__ = [
    "Comparison",
    "GradientError",
    "Report",
    "autodiff_gradients",
    "check_gradients",
    "compare_backends",
    "largest_difference",
]
