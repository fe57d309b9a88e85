"""Checks of hand-written gradients against independent oracles, and of backends against each other.

`gradients` is check_gradients, and `backends` is compare_backends. A gradient check turns its subject into one of the
`problems` at each of two `points`, and each of the `oracles` differentiates it there. `kinks` and `tolerance` say which
differences are no errors; `localize` finds the faulty call; `reports` holds the result, with words from `describe`.
`model_gradients` and `network_derivatives` compare a model's own gradients and a network's other derivatives with a
reference; `intercept` changes kernel calls.
"""

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
