"""Oracles: independent ways to the same gradient, and the reports that come of them."""

from bpengine.check.autodiff import autodiff_gradients, largest_difference
from bpengine.check.backends import compare_backends
from bpengine.check.comparison import Comparison
from bpengine.check.gradientreport import GradientError, Report
from bpengine.check.gradients import check_gradients

__all__ = [
    "Comparison",
    "GradientError",
    "Report",
    "autodiff_gradients",
    "check_gradients",
    "compare_backends",
    "largest_difference",
]
