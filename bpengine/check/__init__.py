"""Oracles: independent ways to the same gradient, and the reports that come of them."""

from bpengine.check.backends.compare import compare_backends
from bpengine.check.gradients import check_gradients
from bpengine.check.oracles.autodiff import autodiff_gradients, largest_difference
from bpengine.check.reports.backend_report import Comparison
from bpengine.check.reports.gradient_report import GradientError, Report

__all__ = [
    "Comparison",
    "GradientError",
    "Report",
    "autodiff_gradients",
    "check_gradients",
    "compare_backends",
    "largest_difference",
]
